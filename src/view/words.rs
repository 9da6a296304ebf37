//! Durations, sizes, exits: how numbers are said.

use crate::api::wire::Exit;

/// `4ms`, `0.41s`, `3.1s`, `42s`, `2m10s`, `3h`, `2d4h`.
pub fn duration(seconds: f64) -> String {
    let seconds = if seconds.is_finite() { seconds.max(0.0) } else { 0.0 };
    if seconds > 0.0 && seconds < 0.0995 {
        return format!("{:.0}ms", (seconds * 1000.0).max(1.0));
    }
    if seconds < 59.5 {
        let digits = match seconds {
            s if s < 0.995 => 2,
            s if s < 9.95 => 1,
            _ => 0,
        };
        let text = format!("{seconds:.digits$}");
        let text = match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.'),
            false => &text,
        };
        return format!("{text}s");
    }
    let seconds = seconds.round() as u64;
    let (large, small, names) = match seconds {
        s if s < 3_600 => (s / 60, s % 60, ("m", "s")),
        s if s < 86_400 => (s / 3_600, s % 3_600 / 60, ("h", "m")),
        s => (s / 86_400, s % 86_400 / 3_600, ("d", "h")),
    };
    match small {
        0 => format!("{large}{}", names.0),
        _ => format!("{large}{}{small}{}", names.0, names.1),
    }
}

/// `512 B`, `8.2 kB`, `41 MB`: decimal, as sizes in the file are.
pub fn bytes(count: u64) -> String {
    let mut amount = count as f64;
    let mut unit = "B";
    for next in ["kB", "MB", "GB", "TB"] {
        if amount < 999.5 {
            break;
        }
        amount /= 1000.0;
        unit = next;
    }
    match unit != "B" && amount < 9.95 {
        true => format!("{amount:.1} {unit}"),
        false => format!("{amount:.0} {unit}"),
    }
}

/// `1 line`, `2 lines`.
pub fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// `exit code 1`, `killed by SIGKILL`, `exit code unknown`.
pub fn exit(exit: &Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exit code {code}"),
        Exit::Signal(name) => format!("killed by {name}"),
        Exit::Unknown(_) => "exit code unknown".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (seconds, text) in [
            (0.0, "0s"),
            (0.000_01, "1ms"),
            (0.004, "4ms"),
            (0.0994, "99ms"),
            (0.0996, "0.1s"),
            (0.41, "0.41s"),
            (0.4, "0.4s"),
            (0.999, "1s"),
            (1.2, "1.2s"),
            (2.0, "2s"),
            (9.96, "10s"),
            (42.4, "42s"),
            (59.7, "1m"),
            (130.0, "2m10s"),
            (3600.0, "1h"),
            (3600.0 * 3.0 + 300.0, "3h5m"),
            (86400.0 * 2.0 + 14400.0, "2d4h"),
            (f64::NAN, "0s"),
            (-1.0, "0s"),
        ] {
            assert_eq!(duration(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn sizes() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (8_200, "8.2 kB"),
            (41_000_000, "41 MB"),
            (999_900, "1.0 MB"),
            (u64::MAX, "18446744 TB"),
        ] {
            assert_eq!(bytes(count), text, "{count}");
        }
    }
}
