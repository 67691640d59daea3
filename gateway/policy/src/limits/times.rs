//! Times of day that two sets of windows have in common.
//!
//! A window may pass midnight. Inside here a day is cut open at midnight: windows become ranges of seconds from 0 to
//! 86,400, and at the end the ranges that touch midnight from both sides are joined again.

use natsgate_core::{TimeOfDay, TimeWindow, TimeWindows};

use super::Conflict;

/// Seconds of a day, `start` inclusive, `end` exclusive.
type Range = (u32, u32);

/// What `a` and `b` have in common.
pub(super) fn both(a: TimeWindows, b: TimeWindows) -> Result<TimeWindows, Conflict> {
    if a.location != b.location {
        return Err(Conflict(
            "rules that limit times name different locations, so what they have in common changes with the seasons; \
             give them one location",
        ));
    }
    let (first, second) = (ranges(&a.windows), ranges(&b.windows));
    let common: Vec<Range> = first
        .iter()
        .flat_map(|&(start, end)| second.iter().map(move |&(s, e)| (start.max(s), end.min(e))))
        .filter(|(start, end)| start < end)
        .collect();
    let windows = windows(joined(common));
    if windows.is_empty() {
        return Err(Conflict(
            "no time of day is allowed by all rules that limit times",
        ));
    }
    Ok(TimeWindows {
        windows,
        location: a.location,
    })
}

/// The windows as ranges that neither overlap nor touch.
fn ranges(windows: &[TimeWindow]) -> Vec<Range> {
    let mut ranges = Vec::new();
    for window in windows {
        let (start, end) = (window.start.seconds(), window.end.seconds());
        if start < end {
            ranges.push((start, end));
        } else if end < start {
            ranges.push((start, TimeOfDay::DAY));
            if end > 0 {
                ranges.push((0, end));
            }
        }
    }
    joined(ranges)
}

fn joined(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let mut joined: Vec<Range> = Vec::with_capacity(ranges.len());
    for (start, end) in ranges {
        match joined.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => joined.push((start, end)),
        }
    }
    joined
}

fn windows(mut ranges: Vec<Range>) -> Vec<TimeWindow> {
    match (ranges.first().copied(), ranges.last().copied()) {
        // The whole day has no single window (it would begin and end at the same time): two halves.
        (Some((0, TimeOfDay::DAY)), _) => {
            ranges = vec![(0, TimeOfDay::DAY / 2), (TimeOfDay::DAY / 2, TimeOfDay::DAY)]
        }
        (Some((0, end)), Some((start, TimeOfDay::DAY))) => {
            ranges.remove(0);
            ranges.pop();
            ranges.push((start, end));
        }
        _ => {}
    }
    // A range up to the end of the day becomes a window up to 00:00:00.
    let time = |seconds: u32| TimeOfDay::from_seconds(seconds % TimeOfDay::DAY);
    ranges
        .into_iter()
        .filter_map(|(start, end)| {
            Some(TimeWindow {
                start: time(start)?,
                end: time(end)?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> TimeWindows {
        let windows = text.split(' ').map(|window| {
            let (start, end) = window.split_once('-').unwrap();
            let time = |t: &str| format!("{t}:00").parse().unwrap();
            TimeWindow {
                start: time(start),
                end: time(end),
            }
        });
        TimeWindows {
            windows: windows.collect(),
            location: None,
        }
    }

    fn common(a: &str, b: &str) -> Option<String> {
        let both = both(read(a), read(b)).ok()?;
        let text = |t: TimeOfDay| t.to_string().chars().take(5).collect::<String>();
        let windows = both
            .windows
            .iter()
            .map(|w| format!("{}-{}", text(w.start), text(w.end)));
        Some(windows.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn windows_are_cut_to_what_they_have_in_common() {
        for (a, b, kept) in [
            ("08:00-18:00", "12:00-20:00", Some("12:00-18:00")),
            (
                "08:00-12:00 13:00-18:00",
                "11:00-14:00",
                Some("11:00-12:00 13:00-14:00"),
            ),
            ("22:00-06:00", "23:00-05:00", Some("23:00-05:00")),
            ("22:00-06:00", "05:00-23:00", Some("05:00-06:00 22:00-23:00")),
            ("22:00-06:00", "20:00-00:00", Some("22:00-00:00")),
            ("22:00-06:00", "00:00-08:00", Some("00:00-06:00")),
            ("08:00-10:00", "10:00-12:00", None),
            (
                "00:00-08:00 20:00-00:00",
                "00:00-12:00 12:00-00:00",
                Some("20:00-08:00"),
            ),
            (
                "08:00-20:00 20:00-08:00",
                "08:00-20:00 20:00-08:00",
                Some("00:00-12:00 12:00-00:00"),
            ),
        ] {
            assert_eq!(common(a, b).as_deref(), kept, "{a} and {b}");
            assert_eq!(common(b, a).as_deref(), kept, "{b} and {a}");
        }
    }

    #[test]
    fn different_locations_have_nothing_certain_in_common() {
        let mut berlin = read("08:00-18:00");
        berlin.location = Some("Europe/Berlin".to_owned());
        assert!(both(berlin.clone(), read("08:00-18:00")).is_err());
        assert!(both(berlin.clone(), berlin).is_ok());
    }

    fn within(windows: &[TimeWindow], second: u32) -> bool {
        windows.iter().any(|w| {
            let (start, end) = (w.start.seconds(), w.end.seconds());
            if start < end {
                (start..end).contains(&second)
            } else {
                start != end && (second >= start || second < end)
            }
        })
    }

    fn any_windows() -> impl Strategy<Value = TimeWindows> {
        // Whole half-hours, so that ends meet often.
        let time = (0u32..48).prop_map(|n| TimeOfDay::from_seconds(n * 1800).unwrap());
        let window = (time.clone(), time).prop_map(|(start, end)| TimeWindow { start, end });
        proptest::collection::vec(window, 1..4).prop_map(|windows| TimeWindows {
            windows,
            location: None,
        })
    }

    proptest! {
        #[test]
        fn a_time_is_in_the_intersection_exactly_if_it_is_in_both(a in any_windows(), b in any_windows()) {
            let kept = both(a.clone(), b.clone()).map(|t| t.windows).unwrap_or_default();
            for second in (0..TimeOfDay::DAY).step_by(900) {
                prop_assert_eq!(
                    within(&kept, second),
                    within(&a.windows, second) && within(&b.windows, second),
                    "at {} s", second
                );
            }
        }
    }
}
