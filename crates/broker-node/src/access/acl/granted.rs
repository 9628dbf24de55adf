//! Rules that a client brings along in its token: what it may publish and subscribe to, and nothing that it may not. They come after
//! those of the file. Made by `access::jwt`, asked by `Access`.

use mqtt_codec::QoS;
use serde_json::Value;
use topic_index::Filter;

use super::pattern::{Placeholder, Template};
use super::rights::{Actions, Clause};
use super::{Principal, names};

/// Filters in a token at most.
const FILTERS_MAX: usize = 64;
/// Levels of such a filter at most.
const LEVELS_MAX: u16 = 128;

/// What somebody may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Granted(Box<[(Actions, Template)]>);

impl Granted {
    /// Reads `{"publish": [FILTER...], "subscribe": [FILTER...], "all": [FILTER...]}`; each of the three may be missing, or
    /// be one filter. `None` for all else: what is not understood might have been meant to forbid something.
    pub(crate) fn parse(claim: &Value) -> Option<Self> {
        let mut granted = Vec::new();
        for (name, filters) in claim.as_object()? {
            let actions = match name.as_str() {
                "publish" => Actions { publish: true, subscribe: false },
                "subscribe" => Actions { publish: false, subscribe: true },
                "all" => Actions { publish: true, subscribe: true },
                _ => return None,
            };
            let filters = match filters {
                Value::Array(filters) => filters.as_slice(),
                one => std::slice::from_ref(one),
            };
            for filter in filters {
                let text = filter.as_str()?;
                Filter::parse(text, LEVELS_MAX).ok()?;
                granted.push((actions, Template::parse(text, Placeholder::ALL).ok()?));
            }
        }
        (granted.len() <= FILTERS_MAX).then(|| Self(granted.into()))
    }

    /// What that is for one client.
    pub(crate) fn clauses_of(&self, who: &Principal, client: &str) -> impl Iterator<Item = Clause> {
        self.0.iter().filter_map(move |(actions, template)| {
            let pattern = template.of(names(who, client))?;
            Some(Clause { allows: true, actions: *actions, pattern, qos: QoS::ExactlyOnce, retain: true })
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::access::acl::Rights;

    #[test]
    fn what_a_token_allows_is_for_its_client_alone() {
        let granted = Granted::parse(&json!({
            "publish": ["dev/%c/up", "dev/%u/+"], "subscribe": "dev/%c/#", "all": ["shared"],
        }));
        let who = Principal { user: Some("ann".into()), ..Principal::default() };
        let rights = Rights::new(granted.unwrap().clauses_of(&who, "id").collect());
        let publishes = |topic: &str| rights.may_publish(topic.as_bytes(), QoS::ExactlyOnce, true);
        assert!(publishes("dev/id/up") && publishes("dev/ann/x") && publishes("shared"));
        assert!(!publishes("dev/other/up") && !publishes("dev/id/down") && !publishes("dev/id/up/x"));
        let subscribes = |text: &str| rights.may_subscribe(Filter::parse(text, 9).unwrap().plain()).is_some();
        assert!(subscribes("dev/id/#") && subscribes("dev/id/+/x") && subscribes("shared"));
        assert!(!subscribes("dev/#") && !subscribes("dev/ann/x") && !subscribes("#"));
        assert!(rights.may_receive(b"dev/id/x") && !rights.may_receive(b"dev/ann/x"));
        let none = Granted::parse(&json!({})).unwrap();
        assert_eq!((none.clauses_of(&who, "id").count(), none), (0, Granted::default()));
    }

    #[test]
    fn what_is_not_understood_allows_nothing() {
        let many = vec!["a"; FILTERS_MAX + 1];
        let deep = "a/".repeat(usize::from(LEVELS_MAX));
        for bad in [
            json!([]),
            json!("a/#"),
            json!({"deny": ["a"]}),
            json!({"publish": ["a"], "pub": ["b"]}),
            json!({"publish": [1]}),
            json!({"publish": null}),
            json!({"publish": {"topic": "a"}}),
            json!({"publish": ["a/#/b"]}),
            json!({"publish": [""]}),
            json!({"subscribe": ["$share/g/a"]}),
            json!({"all": many}),
            json!({"all": [deep]}),
        ] {
            assert_eq!(Granted::parse(&bad), None, "{bad}");
        }
    }
}
