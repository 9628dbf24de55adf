//! G10: whoever subscribes after the PUBACK of a retained message gets it or a newer one, one that was
//! removed never comes back, and what is retained in the end is what was published last.

use session_store::Millis;
use session_store::retained::PageQuery;
use topic_index::{Filter, PageBounds};

use crate::clients::number;
use crate::clients::retained::TOPICS;
use crate::history::{Number, Promise};
use crate::home::{SHARDS, home_of};
use crate::run::assert_kept;
use crate::world::World;

/// What each replica has in the end.
pub(crate) async fn check_replicas(world: &World) -> Result<(), String> {
    for (node, replica) in world.replicas() {
        for shard in 0..SHARDS {
            let looked = replica.part(shard).group.look_now(|state| {
                let mut found = Vec::new();
                let Filter::Plain(filter) = Filter::parse("#", 9).unwrap() else { panic!("plain") };
                let bounds = PageBounds { topics: 100, steps: 1_000 };
                let query = PageQuery { filter: &filter, from: None, bounds, now: Millis(0) };
                state.machine().shard.retained_page(&query, &mut found);
                found
            });
            let Ok(found) = looked.await else { continue };
            let has = |topic: &str| found.iter().find(|message| message.body.topic() == topic.as_bytes());
            for topic in TOPICS.into_iter().filter(|topic| home_of(topic.as_bytes()) == shard) {
                let (asked, removed) =
                    world.registers(|all| all.get(topic).copied()).unwrap_or_default().asked;
                let should: Option<Number> = Some(asked).filter(|asked| !removed && *asked > 0);
                let is = has(topic).map(number);
                if is != should.map(Some) {
                    return Err(format!("node {node} has {is:?} of {topic} instead of {should:?}"));
                }
            }
            if found.len() > TOPICS.len() {
                return Err(format!("node {node} has {} retained messages", found.len()));
            }
        }
    }
    Ok(())
}

#[test]
fn a_retained_message_never_goes_back() {
    assert_kept(Promise::Retained);
}
