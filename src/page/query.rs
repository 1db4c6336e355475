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
    /// The page, from 1.
    pub page: usize,
    /// One publisher.
    pub id: Option<String>,
}

/// Longer searches find nothing: no name is as long.
const SEARCH_BYTES_MAX: usize = 256;

impl Query {
    /// Reads `q=…&state=…&page=…&id=…`; what else stands there is not for us, and a word that is no standing is none.
    pub fn parse(text: &str) -> Self {
        let mut query = Self { page: 1, ..Self::default() };
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            match &*name {
                "q" => query.search = cut(value.trim()).to_owned(),
                "state" => {
                    let named = value.split(',').filter_map(|word| Standing::parse(word.trim()));
                    query.standings.extend(named);
                }
                "page" => query.page = value.parse().unwrap_or(1).max(1),
                "id" => query.id = Some(value.into_owned()),
                _ => {}
            }
        }
        query.standings.sort_unstable();
        query.standings.dedup();
        query
    }

    /// Whether it asks for a part of the fleet.
    pub fn is_narrow(&self) -> bool {
        !self.search.is_empty() || !self.standings.is_empty()
    }

    /// Whether publishers of this standing are asked for.
    pub fn wants(&self, standing: Standing) -> bool {
        self.standings.is_empty() || self.standings.contains(&standing)
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
            page: 3,
            id: Some("æ".into()),
        };
        assert_eq!(query, expected);
        for text in ["", "page=0", "page=x", "state=red", "q=%20"] {
            assert_eq!(Query::parse(text), Query { page: 1, ..Query::default() }, "{text}");
        }
        assert_eq!(of_publisher("publisher", "a/../b?&"), "publisher?id=a%2F..%2Fb%3F%26");
    }

    proptest! {
        #[test]
        fn another_page_of_the_same_is_the_same(search in "\\PC{0,80}", bits in 0u8..32, page in 1usize..99) {
            let standings = Standing::ALL.into_iter().enumerate();
            let standings = standings.filter(|(at, _)| bits & (1 << at) != 0).map(|(_, one)| one).collect();
            let query = Query { search: cut(search.trim()).trim().to_owned(), standings, page, id: None };
            prop_assert_eq!(Query::parse(query.of_page(page).trim_start_matches('?')), query);
        }
    }
}
