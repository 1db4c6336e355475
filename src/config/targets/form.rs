//! JSON or YAML: from the file's text to the values that are read.
//!
//! YAML has more than these values: keys that are no text, tags, numbers that are none, and aliases, by which a small
//! file grows without a bound. All that is refused here, so that the rest of the reading knows one form.

use std::fmt;
use std::path::Path;

use serde::Deserializer;
use serde::de::{DeserializeSeed, EnumAccess, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::reader::{escaped, shown};
use crate::config::yaml::is_too_deep;

/// Longest file, in bytes: tens of thousands of components have room.
pub(super) const FILE_BYTES_MAX: usize = 4 << 20;

/// What aliases may make of a file, in values and bytes of text together.
const EXPANDED_MAX: usize = 2 * FILE_BYTES_MAX;

/// A key of YAML 1.1 by which one object takes another one's keys; taken for a plain key, it would silently do nothing.
const MERGE: &str = "<<";

/// How the file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// YAML, whose name says so.
    Yaml,
    /// JSON, or YAML where it is none and does not look like it.
    JsonFirst,
}

impl Form {
    /// As the file's name tells.
    pub fn of(path: &Path) -> Self {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let is = |name: &str| extension.eq_ignore_ascii_case(name);
        if is("yml") || is("yaml") { Self::Yaml } else { Self::JsonFirst }
    }

    /// The values of a file.
    ///
    /// # Errors
    /// Why it holds none, on one line.
    pub(super) fn read(self, text: &str) -> Result<Value, String> {
        if text.len() > FILE_BYTES_MAX {
            return Err(format!("is longer than {FILE_BYTES_MAX} bytes"));
        }
        match self {
            Self::Yaml => yaml(text),
            Self::JsonFirst => match serde_json::from_str(text) {
                Ok(value) => Ok(value),
                // What begins so was meant as JSON, and YAML would take some of its slips for something else.
                Err(error) if matches!(text.trim_start().as_bytes().first(), None | Some(b'{' | b'[')) => {
                    Err(format!("is no JSON: {error}"))
                }
                Err(_) => yaml(text),
            },
        }
    }
}

fn yaml(text: &str) -> Result<Value, String> {
    if is_too_deep(text) {
        return Err("is nested too deeply for any that is meant".into());
    }
    let mut room = EXPANDED_MAX;
    let read = Node { room: &mut room }.deserialize(yaml_serde::Deserializer::from_str(text));
    read.map_err(|error| {
        let error = escaped(&error.to_string());
        // Said of a tab, most often, and it names none.
        let has_tabs = text.lines().any(|line| line.trim_start_matches(' ').starts_with('\t'));
        let is_of_tabs = has_tabs && error.contains("cannot start any token");
        let hint = if is_of_tabs { "; YAML is indented by blanks, not by tabs" } else { "" };
        format!("is no YAML that can be used: {error}{hint}")
    })
}

/// One value, which takes its part of the room that is left for all.
struct Node<'a> {
    room: &'a mut usize,
}

impl Node<'_> {
    fn take<E: Error>(&mut self, bytes: usize) -> Result<(), E> {
        let left = self.room.checked_sub(bytes + 1);
        *self.room = left.ok_or_else(|| E::custom("its aliases make it too large"))?;
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON has as well")
    }

    fn visit_unit<E: Error>(mut self) -> Result<Value, E> {
        self.take(0)?;
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }

    fn visit_bool<E: Error>(mut self, value: bool) -> Result<Value, E> {
        self.take(0)?;
        Ok(value.into())
    }

    fn visit_u64<E: Error>(mut self, value: u64) -> Result<Value, E> {
        self.take(0)?;
        Ok(value.into())
    }

    fn visit_i64<E: Error>(mut self, value: i64) -> Result<Value, E> {
        self.take(0)?;
        Ok(value.into())
    }

    fn visit_f64<E: Error>(mut self, value: f64) -> Result<Value, E> {
        self.take(0)?;
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom(format!("{value} is no number")))
    }

    fn visit_str<E: Error>(mut self, value: &str) -> Result<Value, E> {
        self.take(value.len())?;
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Value, A::Error> {
        self.take(0)?;
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(Node { room: self.room })? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut pairs: A) -> Result<Value, A::Error> {
        self.take(0)?;
        let mut object = Map::new();
        while let Some(key) = pairs.next_key_seed(Node { room: self.room })? {
            let Value::String(key) = key else {
                return Err(A::Error::custom(format!(
                    "the key {} is no text; put it in quotes",
                    shown(&key)
                )));
            };
            if key == MERGE {
                return Err(A::Error::custom(format!("the merge key {MERGE} is not known here")));
            }
            if object.contains_key(&key) {
                return Err(A::Error::custom(format!("the key {} is there twice", shown(&key.into()))));
            }
            let value = pairs.next_value_seed(Node { room: self.room })?;
            object.insert(key, value);
        }
        Ok(object.into())
    }

    /// What has a tag.
    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Value, A::Error> {
        Err(A::Error::custom("a tag means nothing here"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_name_tells_the_form_and_else_the_text() {
        for (name, form) in [
            ("a/checks.yml", Form::Yaml),
            ("checks.YAML", Form::Yaml),
            ("checks.json", Form::JsonFirst),
            ("checks", Form::JsonFirst),
            ("yml", Form::JsonFirst),
        ] {
            assert_eq!(Form::of(Path::new(name)), form, "{name}");
        }
        let yaml = "heartbeat:\n  hosts:\n    - {host: db, port: 5432}\n";
        let expected = json!({"heartbeat": {"hosts": [{"host": "db", "port": 5432}]}});
        assert_eq!(Form::Yaml.read(yaml).unwrap(), expected);
        assert_eq!(Form::JsonFirst.read(yaml).unwrap(), expected);
        assert_eq!(Form::Yaml.read(&expected.to_string()).unwrap(), expected);
        // YAML would take it.
        let error = Form::JsonFirst.read("{\"heartbeat\": {\"hosts\": [],}}").unwrap_err();
        assert!(error.starts_with("is no JSON: trailing comma"), "{error}");
    }

    #[test]
    fn what_json_does_not_have_is_refused_with_its_place() {
        for (text, expected) in [
            ("a: 1\nb: 2\na: 3\n", "the key \"a\" is there twice"),
            ("x:\n  - a: 1\n    a: 3\n", "x[0]: the key \"a\" is there twice at line 2 column 5"),
            ("a:\n  b: !secret x\n", "a.b: a tag means nothing here at line 2 column 6"),
            ("b:\n  1: a\n", "b: the key 1 is no text; put it in quotes at line 2 column 3"),
            ("? [a]\n: b\n", "the key [\"a\"] is no text; put it in quotes"),
            ("a: &a {b: 1}\nc:\n  <<: *a\n", "c: the merge key << is not known here at line 3 column 3"),
            ("a: .nan\n", "a: NaN is no number at line 1 column 4"),
            ("a: 99999999999999999999999\n", "a: invalid type: integer `99999999999999999999999` as u128"),
            ("a: *b\n", "unknown anchor at line 1 column 4"),
            ("a: 1\n---\na: 2\n", "deserializing from YAML containing more than one document"),
            (
                "a:\n\t- b\n",
                "found character that cannot start any token at line 2 column 1, while scanning for the next token; \
                 YAML is indented by blanks, not by tabs",
            ),
        ] {
            let error = Form::Yaml.read(text).map(|value| panic!("{text:?}: {value}")).unwrap_err();
            let why =
                error.strip_prefix("is no YAML that can be used: ").unwrap_or_else(|| panic!("{error}"));
            assert!(why.starts_with(expected), "{text:?}: {why}");
        }
    }

    /// Nine lines that stand for 10^9 values, and one that repeats a long text.
    #[test]
    fn aliases_do_not_grow_without_a_bound() {
        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let before = vec![format!("*a{}", level - 1); 10].join(", ");
            laughs.push_str(&format!("a{level}: &a{level} [{before}]\n"));
        }
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 1000].join(", "));
        for (text, expected) in
            [(laughs, "repetition limit exceeded"), (long, "its aliases make it too large")]
        {
            let error = Form::Yaml.read(&text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let shared = "limits: &a {timeout: 2s}\nb: [*a, *a]\n";
        let expected = json!({"limits": {"timeout": "2s"}, "b": [{"timeout": "2s"}, {"timeout": "2s"}]});
        assert_eq!(Form::Yaml.read(shared).unwrap(), expected);
    }

    #[test]
    fn too_long_a_file_is_something_else() {
        for form in [Form::Yaml, Form::JsonFirst] {
            let error = form.read(&" ".repeat(FILE_BYTES_MAX + 1)).unwrap_err();
            assert_eq!(error, "is longer than 4194304 bytes");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "([a&*!:{}\\[\\], \n-]|.){0,60}") {
            if let Err(why) = Form::Yaml.read(&text) {
                prop_assert!(!why.chars().any(char::is_control), "{why:?}");
            }
        }
    }
}
