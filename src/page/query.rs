//! What somebody wants to see of the fleet, as the part of an address behind its question mark.

use form_urlencoded::Serializer;

use super::Standing;

/// What to show. Everything, where nothing is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Shown are publishers whose id, or a name or target of a component, holds this, in capitals or not.
    pub search: String,
    /// Shown are publishers of these standings; of all, where none is named.
    pub standings: Vec<Standing>,
    /// Words that were named as standings, and are none.
    pub strangers: Vec<String>,
    /// The page, from 1.
    pub page: usize,
    /// One publisher.
    pub id: Option<String>,
}

/// Longer searches find nothing: no name is as long.
const SEARCH_BYTES_MAX: usize = 256;

/// More words that are no standings are not told of.
const STRANGERS_MAX: usize = 5;

/// What each parameter of a query is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// Part of a name.
    Search,
    /// Standings.
    State,
    /// A page.
    Page,
    /// A publisher.
    Id,
}

impl Parameter {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Search, Self::State, Self::Page, Self::Id];

    /// As it stands in the address.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Search => "q",
            Self::State => "state",
            Self::Page => "page",
            Self::Id => "id",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|parameter| parameter.as_str() == name)
    }
}

impl Query {
    /// Reads what a person asks for: what cannot be used is as if it were not there, but for words that are no standings, which find
    /// nobody.
    pub fn parse(text: &str) -> Self {
        let mut query = Self { page: 1, ..Self::default() };
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            if let Some(parameter) = Parameter::parse(&name) {
                // A page that is none is the first.
                let _ = query.take(parameter, &value);
            }
        }
        query.in_order()
    }

    /// Reads what a program asks for, which would rather be told than be answered another question.
    ///
    /// # Errors
    /// All that cannot be used, for whoever asks by these parameters.
    pub fn parse_strictly(text: &str, parameters: &[Parameter]) -> Result<Self, String> {
        let mut query = Self { page: 1, ..Self::default() };
        let mut amiss = Vec::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            match Parameter::parse(&name).filter(|parameter| parameters.contains(parameter)) {
                Some(parameter) => amiss.extend(query.take(parameter, &value).err()),
                None => {
                    let known: Vec<&str> = parameters.iter().map(|one| one.as_str()).collect();
                    amiss.push(format!("there is no parameter {:?}, but {}", cut(&name), known.join(", ")));
                }
            }
        }
        let query = query.in_order();
        amiss.extend(query.said_of_strangers());
        if amiss.is_empty() { Ok(query) } else { Err(amiss.join("; ")) }
    }

    fn take(&mut self, parameter: Parameter, value: &str) -> Result<(), String> {
        match parameter {
            Parameter::Search => self.search = cut(value.trim()).to_owned(),
            Parameter::State => {
                for word in value.split(',').map(str::trim).filter(|word| !word.is_empty()) {
                    match Standing::parse(word) {
                        Some(standing) => self.standings.push(standing),
                        None => self.strangers.push(cut(word).to_owned()),
                    }
                }
            }
            Parameter::Page => match value.parse() {
                Ok(page) if page > 0 => self.page = page,
                _ => return Err(format!("page is {:?}, which is no number from 1", cut(value))),
            },
            Parameter::Id => self.id = Some(value.to_owned()),
        }
        Ok(())
    }

    fn in_order(mut self) -> Self {
        self.standings.sort_unstable();
        self.standings.dedup();
        self.strangers.truncate(STRANGERS_MAX);
        self
    }

    /// What is to be said of words that are no standings; `None` where there are no such words.
    pub fn said_of_strangers(&self) -> Option<String> {
        if self.strangers.is_empty() {
            return None;
        }
        let strangers: Vec<String> = self.strangers.iter().map(|word| format!("{word:?}")).collect();
        let known: Vec<&str> = Standing::ALL.iter().map(|standing| standing.as_str()).collect();
        Some(format!("no state is called {}; there are {}", strangers.join(" or "), known.join(", ")))
    }

    /// Whether it asks for a part of the fleet.
    pub fn is_narrow(&self) -> bool {
        !self.search.is_empty() || !self.standings.is_empty() || !self.strangers.is_empty()
    }

    /// Whether publishers of this standing are asked for.
    pub fn wants(&self, standing: Standing) -> bool {
        let any = self.standings.is_empty() && self.strangers.is_empty();
        any || self.standings.contains(&standing)
    }

    /// The address of another page of the same.
    pub fn of_page(&self, page: usize) -> String {
        let mut text = Serializer::new(String::new());
        if !self.search.is_empty() {
            text.append_pair("q", &self.search);
        }
        for standing in &self.standings {
            text.append_pair("state", standing.as_str());
        }
        if page > 1 {
            text.append_pair("page", &page.to_string());
        }
        format!("?{}", text.finish())
    }
}

/// The address of what is told of one publisher.
pub(super) fn of_publisher(path: &str, id: &str) -> String {
    format!("{path}?{}", Serializer::new(String::new()).append_pair("id", id).finish())
}

fn cut(text: &str) -> &str {
    let end = (0..=SEARCH_BYTES_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_is_read_as_forms_are_sent() {
        let query = Query::parse("q=+a%26b+c&state=down&state=silent,up&page=3&other=x&id=%C3%A6");
        let expected = Query {
            search: "a&b c".into(),
            standings: vec![Standing::Silent, Standing::Down, Standing::Up],
            strangers: Vec::new(),
            page: 3,
            id: Some("æ".into()),
        };
        assert_eq!(query, expected);
        for text in ["", "page=0", "page=x", "state=", "q=%20"] {
            assert_eq!(Query::parse(text), Query { page: 1, ..Query::default() }, "{text}");
        }
        assert_eq!(of_publisher("publisher", "a/../b?&"), "publisher?id=a%2F..%2Fb%3F%26");
    }

    #[test]
    fn a_word_that_is_no_standing_finds_nobody() {
        let query = Query::parse("state=red,down&state=green");
        assert_eq!(
            (&query.standings[..], &query.strangers[..]),
            (&[Standing::Down][..], &["red".into(), "green".into()][..])
        );
        assert!(query.wants(Standing::Down) && !query.wants(Standing::Up));
        let query = Query::parse("state=red");
        assert!(query.is_narrow() && Standing::ALL.into_iter().all(|standing| !query.wants(standing)));
        let many = Query::parse(&"state=x,x,x,x,x,x,x,x&".repeat(9));
        assert_eq!(many.strangers.len(), STRANGERS_MAX);
    }

    #[test]
    fn a_program_is_told_what_cannot_be_used() {
        use Parameter::{Id, Page, Search, State};
        let of_fleet = [Search, State, Page];
        for (text, parameters, expected) in [
            ("", &of_fleet[..], None),
            ("q=x&state=down,up&page=2", &of_fleet, None),
            ("id=x", &[Id], None),
            (
                "state=foo",
                &of_fleet,
                Some(r#"no state is called "foo"; there are silent, down, unknown, unjudged, up"#),
            ),
            ("page=0", &of_fleet, Some(r#"page is "0", which is no number from 1"#)),
            ("page=", &of_fleet, Some(r#"page is "", which is no number from 1"#)),
            ("states=down", &of_fleet, Some(r#"there is no parameter "states", but q, state, page"#)),
            ("id=x", &of_fleet, Some(r#"there is no parameter "id", but q, state, page"#)),
            (
                "page=x&state=a,b",
                &of_fleet,
                Some(r#"page is "x", which is no number from 1; no state is called "a" or "b"; there"#),
            ),
        ] {
            let said = Query::parse_strictly(text, parameters).err();
            let same = match (&said, expected) {
                (Some(said), Some(expected)) => said.starts_with(expected),
                (said, expected) => said.is_none() && expected.is_none(),
            };
            assert!(same, "{text}: {said:?}");
        }
    }

    proptest! {
        #[test]
        fn another_page_of_the_same_is_the_same(search in "\\PC{0,80}", bits in 0u8..32, page in 1usize..99) {
            let standings = Standing::ALL.into_iter().enumerate();
            let standings = standings.filter(|(at, _)| bits & (1 << at) != 0).map(|(_, one)| one).collect();
            let search = cut(search.trim()).trim().to_owned();
            let query = Query { search, standings, strangers: Vec::new(), page, id: None };
            prop_assert_eq!(Query::parse(query.of_page(page).trim_start_matches('?')), query);
        }
    }
}
