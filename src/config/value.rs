//! Small values that are written as text.

use std::time::Duration;

/// Nobody waits longer; it also keeps every later sum of durations in range.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// `"500ms"`, `"1m30s"`, `"1.5h"`. Units: ns us ms s m h d.
pub fn duration(text: &str) -> Result<Duration, String> {
    read_duration(text).map_err(|fault| match meant_duration(text) {
        Some(meant) if meant.strip_suffix('s') == Some(text) => {
            format!("a unit is missing; did you mean `\"{meant}\"`?")
        }
        Some(meant) => format!("did you mean `\"{meant}\"`?"),
        None => fault,
    })
}

/// How a duration is written that has blanks, the units of prose or none: `5 minutes` is `5m`.
fn meant_duration(text: &str) -> Option<String> {
    let mut meant = String::new();
    for part in text.split_whitespace() {
        let unit = part.find(char::is_alphabetic).unwrap_or(part.len());
        let (number, unit) = part.split_at(unit);
        let unit = unit.to_lowercase();
        meant.push_str(number);
        meant.push_str(match unit.as_str() {
            "msec" | "msecs" | "millisecond" | "milliseconds" => "ms",
            "sec" | "secs" | "second" | "seconds" => "s",
            "min" | "mins" | "minute" | "minutes" => "m",
            "hr" | "hrs" | "hour" | "hours" => "h",
            "day" | "days" => "d",
            _ => &unit,
        });
    }
    if meant.bytes().all(|byte| byte.is_ascii_digit()) {
        meant.push('s');
    }
    read_duration(&meant).is_ok().then_some(meant)
}

fn read_duration(text: &str) -> Result<Duration, String> {
    if text.is_empty() {
        return Err("a duration needs a number and a unit, as in `\"10s\"`".into());
    }
    let mut rest = text;
    let mut nanoseconds = 0_u128;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let number: f64 = number.parse().map_err(|_| BAD_DURATION.to_owned())?;
        let scale = match unit {
            "ns" => 1.0,
            "us" | "\u{b5}s" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3_600e9,
            "d" => 86_400e9,
            "" => return Err("a unit is missing: ns, us, ms, s, m, h or d".into()),
            other => return Err(format!("`{other}` is no unit; there are ns, us, ms, s, m, h and d")),
        };
        // Rounded to whole nanoseconds, so that "1.1s" is 1.1 s; each part for itself, so that no part blurs another.
        nanoseconds = nanoseconds.saturating_add((number * scale).round() as u128);
        rest = tail;
    }
    if nanoseconds > LONGEST.as_nanos() {
        return Err("longer than 100 years".into());
    }
    Ok(Duration::from_nanos(nanoseconds as u64))
}

const BAD_DURATION: &str = "a duration is numbers with units, as in `\"500ms\"`, `\"10s\"`, `\"1m30s\"`";

/// `"10MB"` (powers of 1000), `"10MiB"` and `"10M"` (powers of 1024), `"4096"`, `"4096B"`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    const BAD: &str = "a size is a number with a unit, as in `\"10MB\"` or `\"512KiB\"`";
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| BAD.to_owned())?;
    let scale: f64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        "k" | "kib" => 1024.0,
        "m" | "mib" => 1024.0 * 1024.0,
        "g" | "gib" => 1024.0 * 1024.0 * 1024.0,
        "t" | "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return Err(BAD.into()),
    };
    let bytes = number * scale;
    if bytes > 1e18 {
        return Err("larger than any disk".into());
    }
    Ok(bytes.round() as u64)
}

/// `"022"`: up to four octal digits.
pub(super) fn octal(text: &str) -> Result<u32, String> {
    let valid = (1..=4).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let bits = u32::from_str_radix(text, 8).ok().filter(|bits| valid && *bits <= 0o777);
    bits.ok_or_else(|| "permission bits are octal digits, as in `\"022\"`".into())
}

/// When something runs.
#[derive(Debug)]
pub(super) enum When {
    Every(Duration),
    Cron(Box<croner::Cron>),
}

/// No schedule is finer.
const SHORTEST_PERIOD: Duration = Duration::from_secs(1);

/// A cron line that comes true some day, or `every DURATION`.
pub(super) fn cron(text: &str) -> Result<When, String> {
    if let Some(every) = text.strip_prefix("every ") {
        return match duration(every.trim()) {
            Ok(period) if period < SHORTEST_PERIOD => Err("the shortest period is 1s".into()),
            Ok(period) => Ok(When::Every(period)),
            Err(fault) => Err(match meant_duration(every) {
                Some(meant) => format!("did you mean `\"every {meant}\"`?"),
                None => fault,
            }),
        };
    }
    match text.parse::<croner::Cron>() {
        Ok(cron) if crate::spec::ever_fires(&cron, jiff::Timestamp::now()) => Ok(When::Cron(Box::new(cron))),
        Ok(_) => Err(
            "it never comes true: no date matches it (as 31 February). The last day of a month is `L`, as in `0 0 L * *`"
                .into(),
        ),
        Err(_) if !text.contains(' ') && duration(text).is_ok() => Err(format!("did you mean `\"every {text}\"`?")),
        Err(error) => Err(format!("no valid cron line: {}", plainly(&error))),
    }
}

/// Without the words that the parser begins with.
fn plainly(error: &croner::errors::CronError) -> String {
    use croner::errors::CronError;
    match error {
        CronError::InvalidPattern(why) | CronError::IllegalCharacters(why) | CronError::ComponentError(why) => {
            why.trim_end_matches('.').to_owned()
        }
        CronError::EmptyPattern => "it is empty".to_owned(),
        other => other.to_string(),
    }
}

/// `HOST:PORT`; the host may be an IPv6 address in brackets.
pub(super) fn host_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let port: u16 = port.parse().ok().filter(|port| *port != 0)?;
    let host = match bare {
        Some(inner) => inner,
        None if host.contains([':', '/', ' ', '@', '[', ']']) => return None,
        None => host,
    };
    (!host.is_empty() || bare.is_none()).then(|| (host.to_owned(), port))
}

/// The name of a service, template, profile, label or instance.
pub fn name_fault(name: &str) -> Option<&'static str> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() {
        Some("a name can't be empty")
    } else if name.len() > 64 {
        Some("a name has at most 64 characters")
    } else if name.starts_with('.') {
        Some("a name can't begin with a dot")
    } else if name.starts_with('-') {
        Some("a name can't begin with `-`: it would look like an option")
    } else if !name.chars().all(good) {
        Some("a name holds letters, digits, `_`, `-` and `.`")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "10",
            "s",
            "10x",
            "1m30",
            "-1s",
            "1..2s",
            "999999999d",
            "1 s",
            "10 s",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_duration_of_prose_is_told_how_it_is_written() {
        for (text, meant) in [
            ("10", "10s"),
            ("10 s", "10s"),
            ("1 hour 30min", "1h30m"),
            ("5 Minutes", "5m"),
        ] {
            let fault = duration(text).expect_err(text);
            assert!(
                fault.ends_with(&format!("did you mean `\"{meant}\"`?")),
                "{text}: {fault}"
            );
            assert_eq!(fault.contains("missing"), text == "10", "{text}: {fault}");
        }
        let fault = cron("every 5 minutes").expect_err("prose");
        assert_eq!(fault, "did you mean `\"every 5m\"`?");
        assert!(cron("every 1fortnight").expect_err("prose").contains("no unit"));
    }

    #[test]
    fn a_duration_reads_back_what_is_shown() {
        for millis in [0, 1, 999, 1000, 61_001, 86_400_000, 90_061_001] {
            let wanted = Duration::from_millis(millis);
            assert_eq!(duration(&crate::spec::duration_text(wanted)), Ok(wanted));
        }
        let finest = LONGEST - Duration::from_nanos(1);
        assert_eq!(duration(&crate::spec::duration_text(finest)), Ok(finest));
    }

    #[test]
    fn sizes_octals_hosts_names() {
        assert_eq!(size("10MB"), Ok(10_000_000));
        assert_eq!(size("1KiB"), Ok(1024));
        assert_eq!(size("1k"), Ok(1024));
        assert!(size("MB").is_err() && size("1XB").is_err() && size("-1").is_err());
        assert_eq!(octal("022"), Ok(0o22));
        assert!(octal("8").is_err() && octal("").is_err() && octal("7777").is_err() && octal("+22").is_err());
        assert_eq!(host_port("[::1]:80"), Some(("::1".into(), 80)));
        assert_eq!(host_port("db:5432"), Some(("db".into(), 5432)));
        assert!(host_port("db").is_none() && host_port("a:b:1").is_none() && host_port("db:0").is_none());
        assert!(name_fault("web-1.x").is_none());
        assert!(name_fault("").is_some() && name_fault("a/b").is_some() && name_fault("..").is_some());
    }
}
