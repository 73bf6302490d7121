//! What lists have in common: which entries, in which order, from where to where.

use std::cmp::Ordering;

use mezzo_master_core::description::Description;
use mezzo_server::http::query::Query;

/// No list is longer than this at one time.
const MOST: usize = 500;
/// A list is so long when nothing is said.
const USUAL: usize = 100;

/// What is wanted of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wanted {
    /// Words, in lower case; an entry fits that has all of them.
    pub(crate) words: Vec<String>,
    /// States, of which an entry has one; any when none is named.
    pub(crate) states: Vec<String>,
    /// The column that decides the order; each list has its usual one.
    pub(crate) sort: String,
    pub(crate) ascending: bool,
    pub(crate) offset: usize,
    pub(crate) limit: usize,
}

impl Wanted {
    /// `q`, `state`, `sort`, `order`, `offset`, `limit`; what makes no sense is as if it were not there.
    pub(crate) fn of(query: &Query) -> Self {
        let text = |key: &str| query.get(key).unwrap_or_default();
        let number = |key: &str, usual: usize| text(key).parse().unwrap_or(usual);
        Self {
            words: text("q").split_whitespace().map(str::to_lowercase).collect(),
            states: text("state").split(',').filter(|state| !state.is_empty()).map(str::to_owned).collect(),
            sort: text("sort").to_owned(),
            ascending: text("order") == "asc",
            offset: number("offset", 0),
            limit: number("limit", USUAL).min(MOST),
        }
    }

    /// Whether every word is in one of the texts.
    pub(crate) fn fits(&self, texts: &[&str]) -> bool {
        self.words.iter().all(|word| texts.iter().any(|text| contains(text, word)))
    }

    /// Whether this state is wanted.
    pub(crate) fn fits_state(&self, state: &str) -> bool {
        self.states.is_empty() || self.states.iter().any(|wanted| wanted == state)
    }

    /// Orders by key and takes the wanted part.
    pub(crate) fn part<K: Ord, T>(&self, mut entries: Vec<(K, T)>) -> Vec<T> {
        let order = |(a, _): &(K, T), (b, _): &(K, T)| if self.ascending { a.cmp(b) } else { b.cmp(a) };
        let end = self.offset.saturating_add(self.limit).min(entries.len());
        if end < entries.len() {
            entries.select_nth_unstable_by(end, order);
            entries.truncate(end);
        }
        entries.sort_unstable_by(order);
        entries.into_iter().skip(self.offset).map(|(_, entry)| entry).collect()
    }
}

/// Whether `text` has `word`, which is in lower case, in it.
fn contains(text: &str, word: &str) -> bool {
    if text.is_ascii() && word.is_ascii() {
        let (text, word) = (text.as_bytes(), word.as_bytes());
        return word.is_empty() || text.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
    }
    text.to_lowercase().contains(word)
}

/// A number or a text that lists are ordered by.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Key {
    Number(f64),
    Text(String),
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.total_cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Number(_), Self::Text(_)) => Ordering::Less,
            (Self::Text(_), Self::Number(_)) => Ordering::Greater,
        }
    }
}

/// Region and zone: of the fault domain, or else of attributes that are called so; empty where nothing is said.
pub(crate) fn place(info: &Description) -> (&str, &str) {
    let domain = info.domain().and_then(|domain| domain.fault_domain.as_ref());
    if let Some(domain) = domain {
        return (&domain.region.name, &domain.zone.name);
    }
    let attribute = |name: &str| {
        let found = info.attributes().iter().find(|attribute| attribute.name == name);
        found.and_then(|attribute| attribute.text.as_ref()).map_or("", |text| text.value.as_str())
    };
    (attribute("region"), attribute("zone"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_leniently_and_bounded() {
        let wanted = |text: &str| Wanted::of(&Query::parse(text).unwrap());
        assert_eq!(wanted("").limit, USUAL);
        assert_eq!(wanted("limit=-1&offset=x"), Wanted { limit: USUAL, ..Wanted::default() });
        assert_eq!(wanted("limit=99999").limit, MOST);
        assert_eq!(wanted("q=A+bC").words, ["a", "bc"]);
        assert_eq!(wanted("state=A,,B").states, ["A", "B"]);
    }

    #[test]
    fn parts_come_in_order() {
        let entries = || [3, 1, 2, 5, 4].map(|number| (number, number)).to_vec();
        let wanted = |ascending, offset, limit| Wanted { ascending, offset, limit, ..Wanted::default() };
        assert_eq!(wanted(true, 0, 2).part(entries()), [1, 2]);
        assert_eq!(wanted(false, 1, 2).part(entries()), [4, 3]);
        assert_eq!(wanted(true, 4, 10).part(entries()), [5]);
        assert_eq!(wanted(true, usize::MAX, 10).part(entries()), [0; 0]);
        assert_eq!(wanted(true, 0, 0).part(entries()), [0; 0]);
    }

    #[test]
    fn words_are_found_in_any_case_and_script() {
        let wanted = |text: &str| Wanted::of(&Query::parse(text).unwrap());
        assert!(wanted("q=WEB+host").fits(&["web-1", "HOST-3"]));
        assert!(!wanted("q=web+nowhere").fits(&["web-1", "HOST-3"]));
        assert!(wanted("q=%C3%84").fits(&["äpfel"]));
        assert!(wanted("").fits(&[]));
    }
}
