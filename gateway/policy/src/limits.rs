//! The strictest of several limits.
//!
//! Numbers: the smaller. Lists (kinds of connection, networks, times of day): what all have in common; if that is
//! nothing, there is no session to be had.

mod times;

use std::collections::BTreeSet;

use ipnet::IpNet;
use natsgate_core::{ConnectionType, Limits};

/// Nothing is left of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Conflict(pub(crate) &'static str);

/// Both `a` and `b`.
pub(crate) fn both(a: Limits, b: &Limits) -> Result<Limits, Conflict> {
    Ok(Limits {
        subscriptions: smaller(a.subscriptions, b.subscriptions),
        payload: smaller(a.payload, b.payload),
        data: smaller(a.data, b.data),
        connection_types: common(a.connection_types, b.connection_types.clone(), connection_types)?,
        source_networks: common(a.source_networks, b.source_networks.clone(), networks)?,
        times: common(a.times, b.times.clone(), times::both)?,
    })
}

/// `limits` in the one form that means the same: sorted, nothing twice.
pub(crate) fn normal(limits: Limits) -> Result<Limits, Conflict> {
    Ok(Limits {
        connection_types: common(
            limits.connection_types.clone(),
            limits.connection_types,
            connection_types,
        )?,
        source_networks: common(limits.source_networks.clone(), limits.source_networks, networks)?,
        times: common(limits.times.clone(), limits.times, times::both)?,
        ..limits
    })
}

fn smaller(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}

fn common<T>(
    a: Option<T>,
    b: Option<T>,
    both: impl FnOnce(T, T) -> Result<T, Conflict>,
) -> Result<Option<T>, Conflict> {
    match (a, b) {
        (Some(a), Some(b)) => both(a, b).map(Some),
        (one, other) => Ok(one.or(other)),
    }
}

fn connection_types(a: Vec<ConnectionType>, b: Vec<ConnectionType>) -> Result<Vec<ConnectionType>, Conflict> {
    let common: BTreeSet<_> = a.into_iter().filter(|kind| b.contains(kind)).collect();
    if common.is_empty() {
        return Err(Conflict(
            "no kind of connection is allowed by all rules that limit connection_types",
        ));
    }
    Ok(common.into_iter().collect())
}

fn networks(a: Vec<IpNet>, b: Vec<IpNet>) -> Result<Vec<IpNet>, Conflict> {
    // Of two networks that overlap, one holds the other: the smaller is what they have in common.
    let inner = |a: &IpNet, b: &IpNet| match (a.contains(b), b.contains(a)) {
        (true, _) => Some(*b),
        (_, true) => Some(*a),
        _ => None,
    };
    let common: Vec<IpNet> = a
        .iter()
        .flat_map(|a| b.iter().filter_map(move |b| inner(a, b)))
        .collect();
    if common.is_empty() {
        return Err(Conflict(
            "no network is allowed by all rules that limit source_networks",
        ));
    }
    Ok(IpNet::aggregate(&common))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    #[test]
    fn the_smaller_number_holds_and_none_is_no_bound() {
        let a = Limits {
            subscriptions: Some(10),
            payload: None,
            data: Some(5),
            ..Limits::default()
        };
        let b = Limits {
            subscriptions: Some(3),
            payload: Some(7),
            ..Limits::default()
        };
        for (one, other) in [(a.clone(), b.clone()), (b, a)] {
            let both = both(one, &other).unwrap();
            assert_eq!(
                (both.subscriptions, both.payload, both.data),
                (Some(3), Some(7), Some(5))
            );
        }
    }

    #[test]
    fn kinds_of_connection_are_those_in_common() {
        use ConnectionType::{Mqtt, Standard, Websocket};
        let limits = |kinds: &[ConnectionType]| Limits {
            connection_types: Some(kinds.to_vec()),
            ..Limits::default()
        };
        let kept = both(limits(&[Websocket, Standard]), &limits(&[Mqtt, Standard])).unwrap();
        assert_eq!(kept.connection_types, Some(vec![Standard]));
        assert!(both(limits(&[Websocket]), &limits(&[Mqtt])).is_err());
        let unbounded = both(limits(&[Mqtt]), &Limits::default()).unwrap();
        assert_eq!(unbounded.connection_types, Some(vec![Mqtt]));
    }

    #[test]
    fn networks_are_the_smaller_of_each_overlap() {
        let kept = networks(
            nets(&["10.0.0.0/8", "192.168.1.0/24", "fd00::/8"]),
            nets(&["10.1.0.0/16", "192.168.0.0/16", "172.16.0.0/12", "fd00:1::/32"]),
        );
        assert_eq!(kept, Ok(nets(&["10.1.0.0/16", "192.168.1.0/24", "fd00:1::/32"])));
        assert!(networks(nets(&["10.0.0.0/8"]), nets(&["11.0.0.0/8"])).is_err());
        assert!(networks(nets(&["0.0.0.0/0"]), nets(&["::/0"])).is_err());
    }
}
