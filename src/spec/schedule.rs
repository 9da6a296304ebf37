//! When a scheduled oneshot runs: pure reckoning with a zone that `config` has resolved.

use std::time::Duration;

use croner::Cron;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, ToSpan};

/// A cron line or a period.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// As written.
    text: String,
    when: When,
    /// The zone's name, where one was written.
    tz: Option<String>,
    zone: TimeZone,
}

#[derive(Clone, Debug)]
enum When {
    Every(Duration),
    Cron(Box<Line>),
}

#[derive(Clone, Debug)]
struct Line {
    cron: Cron,
    /// Its hour is any (`*`, `*/2`): it follows the clock through a change of time instead of keeping to times of day.
    any_hour: bool,
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Schedule) -> bool {
        (&self.text, &self.tz, &self.zone) == (&other.text, &other.tz, &other.zone)
    }
}

impl Schedule {
    /// `zone`: of the machine, unless `tz` names another.
    pub fn every(text: &str, period: Duration, zone: TimeZone) -> Schedule {
        Schedule {
            text: text.to_owned(),
            when: When::Every(period),
            tz: None,
            zone,
        }
    }

    pub fn cron(text: &str, cron: Cron, tz: Option<String>, zone: TimeZone) -> Schedule {
        let line = Line {
            cron,
            any_hour: has_any_hour(text),
        };
        Schedule {
            text: text.to_owned(),
            when: When::Cron(Box::new(line)),
            tz,
            zone,
        }
    }

    /// As written.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn tz(&self) -> Option<&str> {
        self.tz.as_deref()
    }

    /// The time between two runs, where that is what was written: it is measured by the monotonic clock.
    pub fn period(&self) -> Option<Duration> {
        match self.when {
            When::Every(period) => Some(period),
            When::Cron(_) => None,
        }
    }

    /// The first time of its cron line after an instant (nanoseconds since 1970); of a period there is none.
    ///
    /// A time of day that the clock leaves out comes at the instant of the change, one that comes twice comes the first time
    /// only. A line for any hour simply follows the clock.
    pub fn next(&self, after_ns: i64) -> Option<i64> {
        let When::Cron(line) = &self.when else { return None };
        let after = Timestamp::from_second(after_ns.div_euclid(1_000_000_000)).ok()?;
        let next = line.next(after, &self.zone)?;
        i64::try_from(next.as_nanosecond()).ok()
    }

    /// `14:00`, `Fri 14:00`, `2026-12-24 14:00`: an instant on its clock, as short as it is clear now.
    pub fn clock(&self, at_ns: i64, now_ns: i64) -> String {
        let zoned = |ns: i64| {
            let instant = Timestamp::from_nanosecond(i128::from(ns)).ok()?;
            Some(instant.to_zoned(self.zone.clone()))
        };
        let (Some(at), Some(now)) = (zoned(at_ns), zoned(now_ns)) else {
            return String::new();
        };
        let time = match at.second() {
            0 => at.strftime("%H:%M").to_string(),
            _ => at.strftime("%H:%M:%S").to_string(),
        };
        let days = (at_ns - now_ns) / 86_400_000_000_000;
        match at.date() == now.date() {
            true => time,
            false if (0..6).contains(&days) => format!("{} {time}", at.strftime("%a")),
            false => format!("{} {time}", at.date()),
        }
    }
}

/// Whether a cron line ever comes true, from an instant on.
pub fn ever_fires(cron: &Cron, from: Timestamp) -> bool {
    next_civil(cron, Offset::UTC.to_datetime(from), true).is_some()
}

fn has_any_hour(text: &str) -> bool {
    let fields: Vec<&str> = text.split_whitespace().collect();
    match fields[..] {
        [nickname] => nickname.eq_ignore_ascii_case("@hourly"),
        [_, hour, _, _, _] | [_, _, hour, ..] => hour.starts_with('*'),
        _ => false,
    }
}

fn next_civil(cron: &Cron, from: DateTime, inclusive: bool) -> Option<DateTime> {
    let from = from.to_zoned(TimeZone::UTC).ok()?;
    let next = cron.find_next_occurrence(&from, inclusive).ok()?;
    Some(next.datetime())
}

impl Line {
    /// Goes from one change of the zone's offset to the next: within such a stretch, clock and time agree.
    fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut offset = zone.to_offset(after);
        let (mut from, mut inclusive) = (offset.to_datetime(after), false);
        // Whether the clock shows what it has shown before.
        let just_after = after.checked_add(1.nanosecond()).ok()?;
        if let Some(change) = zone.preceding(just_after).next() {
            let before = zone.to_offset(change.timestamp().checked_sub(1.nanosecond()).ok()?);
            let shown = before.to_datetime(change.timestamp());
            if !self.any_hour && from < shown {
                (from, inclusive) = (shown, true);
            }
        }
        let mut at = after;
        loop {
            let next = next_civil(&self.cron, from, inclusive)?;
            let instant = offset.to_timestamp(next).ok()?;
            let Some(change) = zone.following(at).next().filter(|change| change.timestamp() <= instant) else {
                return Some(instant);
            };
            at = change.timestamp();
            let (was, is) = (offset.to_datetime(at), change.offset().to_datetime(at));
            if !self.any_hour && next < is {
                return Some(at);
            }
            // Set back: times of day wait for the end of what comes again.
            from = if self.any_hour { is } else { is.max(was) };
            (inclusive, offset) = (true, change.offset());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn berlin() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a POSIX zone")
    }

    fn line(text: &str, zone: TimeZone) -> Schedule {
        Schedule::cron(text, text.parse().expect("a cron line"), None, zone)
    }

    /// The first times after an instant, in UTC.
    fn times(schedule: &Schedule, after: &str, count: usize) -> Vec<String> {
        let mut at = after.parse::<Timestamp>().expect("an instant").as_nanosecond() as i64;
        let mut found = Vec::new();
        for _ in 0..count {
            at = schedule.next(at).expect("it comes again");
            found.push(Timestamp::from_nanosecond(at.into()).expect("an instant").to_string());
        }
        found
    }

    #[test]
    fn a_line_comes_at_its_times() {
        let noon = line("0 12 * * MON-FRI", TimeZone::UTC);
        let wanted = ["2026-11-27T12:00:00Z", "2026-11-30T12:00:00Z"];
        assert_eq!(times(&noon, "2026-11-26T12:00:00Z", 2), wanted);
        assert_eq!(times(&noon, "2026-11-27T11:59:59.999Z", 1), wanted[..1]);
        let seconds = line("*/20 * * * * *", TimeZone::UTC);
        assert_eq!(
            times(&seconds, "2026-11-26T12:00:19.5Z", 2),
            ["2026-11-26T12:00:20Z", "2026-11-26T12:00:40Z"]
        );
        assert_eq!(
            times(&line("0 12 * * *", berlin()), "2026-11-26T12:00:00Z", 1),
            ["2026-11-27T11:00:00Z"]
        );
    }

    #[test]
    fn a_time_of_day_that_is_left_out_comes_at_the_change() {
        let nightly = line("30 2 * * *", berlin());
        // On 2026-03-29 the clock goes from 02:00 to 03:00, which is 01:00 UTC.
        let wanted = ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"];
        assert_eq!(times(&nightly, "2026-03-28T00:00:00Z", 3), wanted);
        // Several of them collapse.
        let thrice = line("0,20,40 2 * * *", berlin());
        let wanted = ["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"];
        assert_eq!(times(&thrice, "2026-03-28T23:00:00Z", 2), wanted);
        assert_eq!(times(&nightly, "2026-03-29T01:10:00Z", 1), ["2026-03-30T00:30:00Z"]);
    }

    #[test]
    fn a_time_of_day_that_comes_twice_comes_once() {
        let nightly = line("30 2 * * *", berlin());
        // On 2026-10-25 the clock goes from 03:00 back to 02:00, which is 01:00 UTC.
        let wanted = ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"];
        assert_eq!(times(&nightly, "2026-10-24T12:00:00Z", 2), wanted);
        assert_eq!(times(&nightly, "2026-10-25T01:10:00Z", 1), wanted[1..]);
        let at_three = line("0 3 * * *", berlin());
        assert_eq!(times(&at_three, "2026-10-25T00:30:00Z", 1), ["2026-10-25T02:00:00Z"]);
    }

    #[test]
    fn a_line_for_any_hour_follows_the_clock() {
        let often = line("*/30 * * * *", berlin());
        let wanted = [
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:00:00Z",
            "2026-10-25T01:30:00Z",
            "2026-10-25T02:00:00Z",
        ];
        assert_eq!(times(&often, "2026-10-25T00:00:00Z", 4), wanted);
        let wanted = ["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"];
        assert_eq!(times(&often, "2026-03-29T00:00:00Z", 3), wanted);
        let past = line("10 * * * *", berlin());
        assert_eq!(
            times(&past, "2026-03-29T00:10:00Z", 2),
            ["2026-03-29T01:10:00Z", "2026-03-29T02:10:00Z"]
        );
    }

    #[test]
    fn what_never_comes_is_known() {
        let now = "2026-11-26T12:00:00Z".parse().expect("an instant");
        for (text, fires) in [
            ("0 0 31 2 *", false),
            ("0 0 30 2 *", false),
            ("0 0 31 4,6,9,11 *", false),
            ("0 0 29 2 *", true),
            ("* * * * *", true),
        ] {
            assert_eq!(ever_fires(&text.parse().expect("a cron line"), now), fires, "{text}");
        }
    }

    #[test]
    fn the_clock_is_as_short_as_it_is_clear() {
        let schedule = Schedule::every("every 1d", Duration::from_secs(86_400), berlin());
        let ns = |text: &str| text.parse::<Timestamp>().expect("an instant").as_nanosecond() as i64;
        let now = ns("2026-11-26T12:00:00Z");
        for (at, shown) in [
            ("2026-11-26T13:00:00Z", "14:00"),
            ("2026-11-26T13:00:05.2Z", "14:00:05"),
            ("2026-11-27T09:30:00Z", "Fri 10:30"),
            ("2027-01-01T11:00:00Z", "2027-01-01 12:00"),
        ] {
            assert_eq!(schedule.clock(ns(at), now), shown);
        }
    }
}
