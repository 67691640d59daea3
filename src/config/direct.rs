//! What is read of a configuration to close sessions by hand: the connections into the system account, and which accounts
//! natsgate lets into. On the day this is for, the rest of the file may be as broken as what it describes.

use std::path::Path;

use natsgate_shim::NatsSettings;
use natsgate_shim::watching::Accounts;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::load::{document, look_up, typed};
use super::nats::NatsConfig;
use super::problem::{Problem, Problems};
use super::reference;

/// What of `shim` is read, and what of each of its accounts.
const SHIM: [&str; 3] = ["system", "eviction", "accounts"];
const ACCOUNT: [&str; 2] = ["name", "account"];

/// How to reach the system account, and what to look at.
pub struct Direct {
    /// The connection that lists.
    pub system: NatsSettings,
    /// The connection that closes, if not the one that lists.
    pub eviction: Option<NatsSettings>,
    /// The accounts that natsgate lets into.
    pub accounts: Accounts,
    /// What policies call them.
    pub names: Vec<String>,
}

#[derive(Deserialize)]
struct Document {
    shim: Option<Shim>,
}

#[derive(Deserialize)]
struct Shim {
    system: Option<NatsConfig>,
    eviction: Option<NatsConfig>,
    #[serde(default)]
    accounts: Vec<Account>,
}

#[derive(Deserialize)]
struct Account {
    name: String,
    account: Option<String>,
}

/// Reads what is needed of the file at `path`, with `variables` over it.
///
/// # Errors
/// All that is wrong with what is needed.
pub fn load(path: &Path, variables: &[(String, String)]) -> Result<Direct, Problems> {
    let needed: Vec<(String, String)> = variables
        .iter()
        .filter(|(name, _)| is_needed(name))
        .cloned()
        .collect();
    let (mut whole, base) = document(path, &needed)?;
    let mut value = json!({ "shim": picked(&whole) });
    reference::wipe(&mut whole);
    let environment = |name: &str| look_up(variables, name);
    let read = reference::resolve(&mut value, "", &base, &environment).and_then(|()| typed(&value));
    reference::wipe(&mut value);
    let Document { shim } = read?;
    let shim =
        shim.ok_or_else(|| Problem::new("shim", "is missing; --direct needs its `system` and `accounts`"))?;
    shim.settings(&base)
}

impl Shim {
    fn settings(self, base: &Path) -> Result<Direct, Problems> {
        let mut problems = Problems::default();
        let mut connection = |config: Option<NatsConfig>, key: &str| {
            let settings = config.map(|config| config.settings(key, base))?;
            settings.map_err(|more| problems.extend(more)).ok()
        };
        let has_system = self.system.is_some();
        let system = connection(self.system, "shim.system");
        let eviction = connection(self.eviction, "shim.eviction");
        if !has_system {
            problems.push(Problem::new(
                "shim.system",
                "is missing; without a connection into the system account nothing can be listed or closed",
            ));
        }
        if self.accounts.is_empty() {
            problems.push(Problem::new(
                "shim.accounts",
                "is empty; name the accounts that natsgate lets into",
            ));
        }
        let names = self.accounts.iter().map(|account| account.name.clone()).collect();
        let accounts = self
            .accounts
            .into_iter()
            .map(|Account { name, account }| (account.unwrap_or_else(|| name.clone()), name));
        let accounts = Accounts::named(accounts);
        problems.or(system.map(|system| Direct {
            system,
            eviction,
            accounts,
            names,
        }))
    }
}

/// Whether the variable `name` may be meant for what is read here. Others that look like overrides are for others.
fn is_needed(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let mut keys = name.split("__");
    let ours = keys.next() == Some("NATSGATE") && keys.next() == Some("SHIM");
    ours && keys
        .next()
        .is_some_and(|key| SHIM.iter().any(|needed| key.eq_ignore_ascii_case(needed)))
}

/// The keys of `shim` that are read; null where there is none.
fn picked(whole: &Value) -> Value {
    let Some(Value::Object(shim)) = whole.get("shim") else {
        return Value::Null;
    };
    let mut picked = only(shim, &SHIM);
    if let Some(Value::Array(accounts)) = picked.get_mut("accounts") {
        for account in accounts {
            if let Value::Object(fields) = account {
                *fields = only(fields, &ACCOUNT);
            }
        }
    }
    Value::Object(picked)
}

fn only(fields: &Map<String, Value>, keys: &[&str]) -> Map<String, Value> {
    let kept = fields.iter().filter(|(key, _)| keys.contains(&key.as_str()));
    kept.map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(yaml: &str, variables: &[(&str, &str)]) -> Result<Direct, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("natsgate.yaml");
        std::fs::write(&file, yaml).unwrap();
        let variables: Vec<_> = variables
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        load(&file, &variables).map_err(|problems| problems.to_string())
    }

    #[test]
    fn what_is_broken_elsewhere_does_not_matter() {
        let broken = "shim:\n  clutser: x\n  nats: { servers: [], nkey_seed: '${GONE}' }\n  xkey_seed: '${file:gone}'\n  \
                      system: { servers: ['nats://a'], user: u, password: '${PW}' }\n  accounts:\n    - { name: APP, account: \
                      AABC, signing_seed: '${GONE}' }\n    - { name: OTHER }\nstore: { redis: 7 }\ndecision: no\n";
        let direct = loaded(
            broken,
            &[
                ("PW", "secret"),
                ("NATSGATE__DECISION__LISTEN", "x"),
                ("NATSGATE__SHIM__SYSTEM__SERVERS", "nats://b,nats://c"),
            ],
        )
        .unwrap();
        assert_eq!(direct.system.servers, ["nats://b", "nats://c"]);
        assert_eq!(direct.names, ["APP", "OTHER"]);
        assert_eq!(direct.accounts.name("AABC"), Some("APP"));
        assert_eq!(direct.accounts.name("OTHER"), Some("OTHER"));
        assert!(direct.eviction.is_none());
    }

    #[test]
    fn what_is_needed_and_wrong_is_named_by_its_key() {
        for (yaml, start) in [
            ("decision: {}\n", "shim: is missing"),
            ("shim: { accounts: [{ name: APP }] }\n", "shim.system: is missing"),
            (
                "shim: { system: { servers: ['nats://a'] } }\n",
                "shim.accounts: is empty",
            ),
            (
                "shim: { system: { servers: ['ftp://a'] }, accounts: [{ name: APP }] }\n",
                "shim.system.servers[0]: is not a NATS URL",
            ),
            (
                "shim: { system: { servers: ['nats://a'], token: '${GONE}' }, accounts: [{ name: APP }] }\n",
                "shim.system.token: the environment variable GONE is not set",
            ),
            (
                "shim: { system: { severs: ['nats://a'] }, accounts: [{ name: APP }] }\n",
                "shim.system.severs: unknown field",
            ),
        ] {
            let error = loaded(yaml, &[]).map(drop).unwrap_err();
            assert!(error.starts_with(start), "{error}");
        }
    }
}
