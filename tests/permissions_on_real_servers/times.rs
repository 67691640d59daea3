//! Times of day.

use futures::future::join_all;
use natsgate_core::{Clock, SystemClock};
use natsgate_proto::v1;
use serde_json::{Value, json};

use crate::gate::{Gate, granted};

/// A time zone in which it is between `hour` and the next at `now`. (Its name has the sign turned: `Etc/GMT-5` is east.)
fn zone_where_it_is(hour: i64, now: i64) -> String {
    let utc = now / 3600 % 24;
    match (hour - utc).rem_euclid(24) {
        0 => "Etc/GMT".to_owned(),
        east @ 1..=14 => format!("Etc/GMT-{east}"),
        west => format!("Etc/GMT+{}", 24 - west),
    }
}

/// A grant for `windows` where it is `hour` o'clock at `now`.
fn within(hour: i64, now: i64, windows: &[(&str, &str)]) -> v1::Grant {
    let windows: Vec<Value> = windows
        .iter()
        .map(|(start, end)| json!({ "start": start, "end": end }))
        .collect();
    granted(json!([{
        "name": "all",
        "publish": { "allow": [">"] },
        "limits": { "times": { "windows": windows, "location": zone_where_it_is(hour, now) } },
    }]))
}

#[tokio::test]
async fn a_session_begins_only_within_its_times_of_day() {
    let day = [("08:00:00", "18:00:00")];
    let night = [("20:00:00", "06:00:00")];
    let until_midnight = [("20:00:00", "00:00:00")];
    let halves = [("00:00:00", "12:00:00"), ("12:00:00", "00:00:00")];
    let nights_and_noon = [("11:00:00", "14:00:00"), ("20:00:00", "06:00:00")];
    for gate in Gate::all().await {
        // The hour may end meanwhile; every window goes on for two more.
        for (windows, hour, expected) in [
            (&day[..], 12, true),
            (&day, 4, false),
            (&day, 20, false),
            (&night, 21, true),
            (&night, 0, true),
            (&night, 3, true),
            (&night, 12, false),
            (&night, 7, false),
            (&until_midnight, 21, true),
            (&until_midnight, 3, false),
            (&halves, 3, true),
            (&halves, 21, true),
            (&nights_and_noon, 12, true),
            (&nights_and_noon, 3, true),
            (&nights_and_noon, 21, true),
            (&nights_and_noon, 16, false),
        ] {
            let entered = gate
                .enter(within(hour, SystemClock.unix_seconds(), windows))
                .await
                .is_ok();
            assert_eq!(
                entered, expected,
                "{}: at {hour} o'clock within {windows:?}",
                gate.name
            );
        }
    }
}

#[tokio::test]
async fn a_session_ends_with_its_time_of_day() {
    let gates = Gate::all().await;
    let starts = ["00:00:00", "20:00:00"];
    let cases = gates.iter().flat_map(|gate| starts.map(|start| (gate, start)));
    join_all(cases.map(async |(gate, start)| {
        let until = SystemClock.unix_seconds() + 2;
        let end = format!("03:{:02}:{:02}", until / 60 % 60, until % 60);
        let mut wire = gate.entered(within(3, until, &[(start, &end)])).await;
        let heard = wire.until_closed().await;
        assert_eq!(
            heard.errors,
            ["'User Authentication Expired'"],
            "{}: from {start}",
            gate.name
        );
        assert!(SystemClock.unix_seconds() >= until, "{}: too early", gate.name);
    }))
    .await;
}
