//! Types of configuration values that are more than what YAML has.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error, IntoDeserializer, SeqAccess, Visitor};

/// A text that is never shown: a seed, a password, a token. Give it as `${NAME}` or `${file:PATH}`.
#[derive(Clone)]
pub struct Secret(pub SecretString);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text; quote it if it looks like a number")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret(SecretString::from(text)))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A secret: write ${NAME} or ${file:PATH}." })
    }
}

/// Reads a number or `true`/`false`, also from a text: the environment and references have nothing but texts.
pub fn scalar<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + FromStr,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either<T> {
        Typed(T),
        Text(String),
    }
    match Either::<T>::deserialize(deserializer) {
        Ok(Either::Typed(value)) => Ok(value),
        Ok(Either::Text(text)) => text.trim().parse().map_err(|_| wrong_scalar::<D, T>()),
        Err(_) => Err(wrong_scalar::<D, T>()),
    }
}

fn wrong_scalar<'de, D: Deserializer<'de>, T>() -> D::Error {
    let wanted = match std::any::type_name::<T>() {
        "bool" => "true or false",
        _ => "a whole number, not below 0",
    };
    D::Error::custom(format!("expected {wanted}"))
}

/// Reads a list, also from one text with commas between.
pub fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    struct List<T>(PhantomData<T>);
    impl<'de, T: DeserializeOwned> Visitor<'de> for List<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list, or one text with commas between")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Vec<T>, E> {
            let entry = |entry: &str| T::deserialize(entry.trim().to_owned().into_deserializer());
            text.split(',').map(entry).collect()
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while let Some(entry) = entries.next_element()? {
                list.push(entry);
            }
            Ok(list)
        }
    }
    deserializer.deserialize_any(List(PhantomData))
}

/// The schema of what [`scalar`] and [`list`] read: a `T`, or a text that says the same.
pub struct OrText<T>(PhantomData<T>);

impl<T: JsonSchema> JsonSchema for OrText<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("{}OrText", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let typed = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [typed, { "type": "string" }] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Section {
        #[serde(default, deserialize_with = "scalar")]
        number: u64,
        #[serde(default, deserialize_with = "scalar")]
        flag: bool,
        #[serde(default, deserialize_with = "list")]
        list: Vec<String>,
    }

    #[test]
    fn values_are_read_typed_or_as_texts() {
        let typed: Section =
            serde_json::from_str(r#"{"number": 5, "flag": true, "list": ["a", "b"]}"#).unwrap();
        let texts: Section =
            serde_json::from_str(r#"{"number": "5", "flag": "true", "list": "a, b"}"#).unwrap();
        for section in [typed, texts] {
            assert_eq!((section.number, section.flag), (5, true));
            assert_eq!(section.list, ["a", "b"]);
        }
    }

    #[test]
    fn wrong_values_are_refused_and_not_repeated() {
        for bad in [
            r#"{"number": "SUHIDDEN"}"#,
            r#"{"number": -1}"#,
            r#"{"flag": "SUHIDDEN"}"#,
            r#"{"list": 1}"#,
        ] {
            let error = serde_json::from_str::<Section>(bad).unwrap_err().to_string();
            assert!(error.contains("expected") && !error.contains("HIDDEN"), "{error}");
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        let secret: Secret = serde_json::from_str(r#""hidden value""#).unwrap();
        assert!(!format!("{secret:?}").contains("value"));
    }
}
