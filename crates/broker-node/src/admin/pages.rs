//! Lists in pages: what several sources have, each in order, is one list in order, of which a page says where the next one begins.
//! Used by the calls that list something. It asks nobody.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message;
use tonic::Status;

use super::node_proto::Place;
use super::proto::Page;

/// Rows of a page.
pub(super) const ROWS_MAX: u32 = 1_000;
/// Rows of a page where nobody says how many.
const ROWS_USUAL: u32 = 100;
/// Bytes of a page's rows, but for one row that is larger.
pub(super) const BYTES_MAX: usize = 1 << 20;

/// Bytes of what one shard has of a page: a node's answer to another has what all shards have that it leads.
pub(super) const SHARD_BYTES_MAX: usize = 256 << 10;

/// A place in the order of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) client_id: String,
    pub(super) source: u32,
    pub(super) number: u64,
    pub(super) filter: String,
}

impl From<Place> for Key {
    fn from(Place { client_id, source, number, filter }: Place) -> Self {
        Self { client_id, source, number, filter }
    }
}

impl From<Key> for Place {
    fn from(Key { client_id, source, number, filter }: Key) -> Self {
        Self { client_id, source, number, filter }
    }
}

/// Which client identifiers are wanted: one, or those that begin with something, or all.
#[derive(Debug)]
pub(super) struct Ids {
    prefix: String,
    /// Nothing may follow it.
    is_whole: bool,
}

impl Ids {
    /// What a request says.
    ///
    /// # Errors
    /// It says both.
    pub(super) fn of(client_id: &str, client_id_prefix: &str) -> Result<Self, String> {
        match (client_id, client_id_prefix) {
            (id, "") => Ok(Self { prefix: id.to_owned(), is_whole: !id.is_empty() }),
            ("", prefix) => Ok(Self { prefix: prefix.to_owned(), is_whole: false }),
            _ => Err("client_id and client_id_prefix: one of them at most".to_owned()),
        }
    }

    /// The first identifier that can be wanted.
    pub(super) fn first(&self) -> &str {
        &self.prefix
    }

    /// The only one that is wanted.
    pub(super) fn only(&self) -> Option<&str> {
        self.is_whole.then_some(self.prefix.as_str())
    }

    /// Whether neither this identifier is wanted nor any behind it; asked from the first one on that can be.
    pub(super) fn is_past(&self, id: &str) -> bool {
        if self.is_whole { id != self.prefix } else { !id.starts_with(&self.prefix) }
    }
}

/// What one source has of a page.
#[derive(Debug)]
pub(super) struct Part<R> {
    /// In order.
    pub(super) rows: Vec<(Key, R)>,
    /// Behind which place there may be more, where that is so.
    pub(super) next: Option<Key>,
}

/// How many rows are asked for.
///
/// # Errors
/// More than there can be.
pub(super) fn size(page: Option<&Page>) -> Result<u32, Status> {
    match page.map_or(0, |page| page.size) {
        0 => Ok(ROWS_USUAL),
        size if size <= ROWS_MAX => Ok(size),
        size => Err(Status::invalid_argument(format!("page.size: {size} is too much: {ROWS_MAX} at most"))),
    }
}

/// What is said of a token that is none.
pub(super) fn bad_token() -> Status {
    Status::invalid_argument("page.token: it is none that was given")
}

/// How many rows are asked for, and behind which place.
///
/// # Errors
/// For more than there can be, and for a token that is none.
pub(super) fn asked(page: Option<&Page>) -> Result<(u32, Option<Key>), Status> {
    let most = size(page)?;
    let Some(token) = page.map(|page| &page.token).filter(|token| !token.is_empty()) else {
        return Ok((most, None));
    };
    let place = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| Place::decode(bytes.as_slice()).ok());
    Ok((most, Some(place.ok_or_else(bad_token)?.into())))
}

/// What whoever wants the next page shows; empty where there is none.
pub(super) fn token(next: Option<Key>) -> String {
    next.map(|key| URL_SAFE_NO_PAD.encode(Place::from(key).encode_to_vec())).unwrap_or_default()
}

/// The first rows of all parts, and behind which place there may be more. Beyond where one of them ends, and has more, nothing is
/// taken of the others, since what comes there is not known.
pub(super) fn merge<R: Message>(parts: Vec<Part<R>>, most: u32) -> (Vec<R>, Option<Key>) {
    let end = parts.iter().filter_map(|part| part.next.as_ref()).min().cloned();
    let known = |key: &Key| end.as_ref().is_none_or(|end| key <= end);
    let all = parts.into_iter().flat_map(|part| part.rows);
    let mut rows: Vec<(Key, R)> = all.filter(|(key, _)| known(key)).collect();
    rows.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut bytes = 0;
    let fits = |(at, (_, row)): &(usize, &(Key, R))| {
        bytes += row.encoded_len();
        *at == 0 || *at < most as usize && bytes <= BYTES_MAX
    };
    let count = rows.iter().enumerate().take_while(fits).count();
    let is_cut = count < rows.len();
    rows.truncate(count);
    let next = if is_cut { rows.last().map(|(key, _)| key.clone()) } else { end };
    (rows.into_iter().map(|(_, row)| row).collect(), next)
}

#[cfg(test)]
mod tests {
    use super::super::proto::Unheard;
    use super::*;

    fn key(text: &str) -> Key {
        Key { client_id: text.to_owned(), source: 1, number: 2, filter: String::new() }
    }

    fn row(text: &str) -> (Key, Unheard) {
        (key(text), Unheard { node: text.to_owned(), shard: None, why: String::new() })
    }

    fn part(rows: &[&str], next: Option<&str>) -> Part<Unheard> {
        Part { rows: rows.iter().map(|text| row(text)).collect(), next: next.map(key) }
    }

    fn merged(parts: Vec<Part<Unheard>>, most: u32) -> (String, Option<String>) {
        let (rows, next) = merge(parts, most);
        (rows.into_iter().map(|row| row.node).collect(), next.map(|key| key.client_id))
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn a_page_is_what_comes_first_in_all_parts() {
        let parts = || vec![part(&["a", "d"], None), part(&["b", "c", "e"], None)];
        assert_eq!(merged(parts(), 9), ("abcde".to_owned(), None));
        assert_eq!(merged(parts(), 5), ("abcde".to_owned(), None));
        assert_eq!(merged(parts(), 2), ("ab".to_owned(), some("b")));
        assert_eq!(merged(Vec::new(), 2), (String::new(), None));
    }

    #[test]
    fn nothing_is_passed_over_of_a_part_that_has_more() {
        let parts = vec![part(&["a", "d"], Some("d")), part(&["b", "e"], None), part(&["f"], Some("f"))];
        assert_eq!(merged(parts, 9), ("abd".to_owned(), some("d")));
        // One that has looked in vain so far.
        let parts = vec![part(&[], Some("b")), part(&["c"], None)];
        assert_eq!(merged(parts, 9), (String::new(), some("b")));
    }

    #[test]
    fn a_page_has_bounded_bytes_or_one_row() {
        let large = |at: &str| {
            let why = "x".repeat(BYTES_MAX / 2);
            (key(at), Unheard { node: at.to_owned(), shard: None, why })
        };
        let rows = ["a", "b", "c"].map(large).into();
        assert_eq!(merged(vec![Part { rows, next: None }], 9), ("a".to_owned(), some("a")));
    }

    #[test]
    fn pages_follow_each_other_by_tokens() {
        let page = |size, token: &str| Page { size, token: token.to_owned() };
        assert_eq!(asked(None).unwrap(), (100, None));
        assert_eq!(asked(Some(&page(7, &token(Some(key("é")))))).unwrap(), (7, Some(key("é"))));
        assert_eq!(token(None), "");
        for (wrong, names) in [
            (page(1_001, ""), "page.size: 1001"),
            (page(0, "?"), "page.token"),
            (page(0, "_w"), "page.token"),
        ] {
            let status = asked(Some(&wrong)).unwrap_err();
            assert!(
                status.code() == tonic::Code::InvalidArgument && status.message().contains(names),
                "{status}"
            );
        }
    }
}
