//! The limits of a rule.

use std::time::Duration;

use chrono_tz::Tz;
use ipnet::IpNet;
use natsgate_core::{ConnectionType, Limits, TimeOfDay, TimeWindow, TimeWindows};

use super::Errors;
use crate::document::{LimitsRule, TimesRule};
use crate::limits::normal;

/// nats-server keeps subscriptions and payload in 32 bits; what is larger was once cut off, to no limit at all.
const MAX_32: u64 = i32::MAX as u64;

/// A user JWT holds numbers as 64 bits with a sign.
const MAX_64: u64 = i64::MAX as u64;

/// Compiles `written`: the limits themselves, and the longest time a session may last.
pub(super) fn compile(
    written: &LimitsRule,
    key: &str,
    errors: &mut Errors,
) -> (Option<Limits>, Option<Duration>) {
    if *written == LimitsRule::default() {
        errors.add(key, "limits nothing; give it a limit, or leave it out");
        return (None, None);
    }
    let number = |value: Option<u64>, name: &str, most: u64, errors: &mut Errors| {
        if value.is_some_and(|v| v == 0 || v > most) {
            errors.add(
                format!("{key}.{name}"),
                format!("must be from 1 to {most}; leave it out for no limit"),
            );
        }
        value
    };
    let limits = Limits {
        subscriptions: number(written.subscriptions, "subscriptions", MAX_32, errors),
        payload: number(written.payload, "payload", MAX_32, errors),
        data: number(written.data, "data", MAX_64, errors),
        connection_types: list(
            written.connection_types.as_deref(),
            &format!("{key}.connection_types"),
            errors,
            |text| text.parse::<ConnectionType>(),
        ),
        source_networks: list(
            written.source_networks.as_deref(),
            &format!("{key}.source_networks"),
            errors,
            network,
        ),
        times: written
            .times
            .as_ref()
            .and_then(|times| windows(times, &format!("{key}.times"), errors)),
    };
    let expires_in = written.expires_in.map(|period| period.duration());
    if expires_in.is_some_and(|period| period < Duration::from_secs(1)) {
        errors.add(format!("{key}.expires_in"), "must be at least 1s");
    }
    if let Some(types) = &limits.connection_types {
        both_or_neither(types, &format!("{key}.connection_types"), errors);
    }
    let limits = errors.take(key, normal(limits));
    (limits.filter(|limits| *limits != Limits::default()), expires_in)
}

/// A nats-server does not tell its callout whether an MQTT client or a leaf node comes over WebSocket, so one of a pair
/// alone would keep both out.
fn both_or_neither(types: &[ConnectionType], key: &str, errors: &mut Errors) {
    use ConnectionType::{Leafnode, LeafnodeWs, Mqtt, MqttWs};
    for (one, other) in [(Mqtt, MqttWs), (Leafnode, LeafnodeWs)] {
        if types.contains(&one) != types.contains(&other) {
            let (one, other) = (one.as_str(), other.as_str());
            errors.add(
                key,
                format!("name both {one} and {other}, or neither: a callout is not told them apart"),
            );
        }
    }
}

/// Reads each text of a list that must not be empty: an empty one would not mean "all" but "none".
fn list<T>(
    texts: Option<&[String]>,
    key: &str,
    errors: &mut Errors,
    read: impl Fn(&str) -> Result<T, String>,
) -> Option<Vec<T>> {
    let texts = texts?;
    if texts.is_empty() {
        errors.add(
            key,
            "an empty list would let nobody connect; name some, or leave it out for no limit",
        );
        return None;
    }
    let mut all = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        all.extend(errors.take(&format!("{key}[{index}]"), read(text)));
    }
    (all.len() == texts.len()).then_some(all)
}

fn network(text: &str) -> Result<IpNet, String> {
    let network = match text.parse::<IpNet>() {
        Ok(network) => network,
        Err(_) => text
            .parse::<std::net::IpAddr>()
            .map(IpNet::from)
            .map_err(|_| format!("{text:?} is not a network; write it like 10.0.0.0/8 or fd00::/8"))?,
    };
    if network.trunc() != network {
        return Err(format!(
            "{text:?} is an address within a network; write {}",
            network.trunc()
        ));
    }
    Ok(network)
}

fn windows(written: &TimesRule, key: &str, errors: &mut Errors) -> Option<TimeWindows> {
    if written.windows.is_empty() {
        errors.add(
            format!("{key}.windows"),
            "an empty list would let nobody connect; name some, or leave times out for no limit",
        );
    }
    if let Some(location) = &written.location
        && location.parse::<Tz>().is_err()
    {
        errors.add(
            format!("{key}.location"),
            format!("{location:?} is not an IANA time zone; write it like Europe/Berlin, or leave it out for the nats-server's own"),
        );
    }
    let mut windows = Vec::with_capacity(written.windows.len());
    for (index, window) in written.windows.iter().enumerate() {
        let mut time = |text: &str, name: &str| {
            errors.take(
                &format!("{key}.windows[{index}].{name}"),
                text.parse::<TimeOfDay>(),
            )
        };
        let (start, end) = (time(&window.start, "start"), time(&window.end, "end"));
        match (start, end) {
            (Some(start), Some(end)) if start == end => errors.add(
                format!("{key}.windows[{index}]"),
                "ends when it begins, which is no time at all; leave times out for the whole day",
            ),
            (Some(start), Some(end)) => windows.push(TimeWindow { start, end }),
            _ => {}
        }
    }
    (!windows.is_empty()).then(|| TimeWindows {
        windows,
        location: written.location.clone(),
    })
}

/// What the limits take, in words, for explanations.
pub(super) fn said(limits: &LimitsRule) -> Vec<String> {
    let number = |name: &str, value: Option<u64>| value.map(|v| format!("limit {name} {v}"));
    let list = |name: &str, texts: &Option<Vec<String>>| {
        texts
            .as_ref()
            .map(|texts| format!("limit {name} {}", texts.join(", ")))
    };
    let times = limits.times.as_ref().map(|times| {
        let windows: Vec<String> = times
            .windows
            .iter()
            .map(|w| format!("{} to {}", w.start, w.end))
            .collect();
        let location = times.location.as_deref().unwrap_or("the nats-server's own time");
        format!("limit times {} ({location})", windows.join(", "))
    });
    [
        number("subscriptions", limits.subscriptions),
        number("payload", limits.payload),
        number("data", limits.data),
        list("connection_types", &limits.connection_types),
        list("source_networks", &limits.source_networks),
        times,
        limits
            .expires_in
            .map(|period| format!("limit expires_in {period}")),
    ]
    .into_iter()
    .flatten()
    .collect()
}
