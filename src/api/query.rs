//! Query strings: from the words of a request to its shape, and for `logs` back again.

use std::collections::HashSet;
use std::str::FromStr;

use jiff::Timestamp;

use super::wire::{LogsRequest, Refusal, timestamp_ns};
use crate::config;
use crate::logs::{self, Query, Stream, Which};

/// The parameters of the logs, with their meaning.
pub(super) const LOGS: &[(&str, &str)] = &[
    ("service", "`NAME` or `@LABEL`, repeatable; none: all"),
    ("follow", "`1`: go on with what comes"),
    ("tail", "Only the last so many lines of each service"),
    ("since", "A duration back from now (`10m`) or RFC 3339"),
    ("until", "The same"),
    ("grep", "Only lines that match this regular expression"),
    ("stream", "`out` or `err`"),
    ("run", "A number, or `previous`"),
];

/// Hands each decoded pair to `take`, which says `Ok(false)` for a key that it does not know and why a value makes no sense.
///
/// # Errors
/// 400 for those two, and for a key that is there twice and not `repeatable`.
pub fn each(
    text: &str,
    repeatable: &[&str],
    mut take: impl FnMut(&str, &str) -> Result<bool, String>,
) -> Result<(), Refusal> {
    let refused = |detail: String| Refusal::new(400, "request not understood", detail);
    let mut seen = HashSet::new();
    for (key, value) in form_urlencoded::parse(text.as_bytes()) {
        if !repeatable.contains(&&*key) && !seen.insert(key.clone()) {
            return Err(refused(format!("`{}` is there twice", shown(&key))));
        }
        match take(&key, &value) {
            Ok(true) => {}
            Ok(false) => return Err(refused(format!("there is no parameter `{}`", shown(&key)))),
            Err(why) => return Err(refused(format!("`{}={}`: {why}", shown(&key), shown(&value)))),
        }
    }
    Ok(())
}

/// A value in a complaint, of bearable length.
fn shown(value: &str) -> String {
    const LONG: usize = 80;
    let mut text: String = value.chars().take(LONG).collect();
    if text.len() < value.len() {
        text.push('…');
    }
    text
}

pub fn number<T: FromStr>(value: &str) -> Result<T, String> {
    value.parse().map_err(|_| "a number is expected".to_owned())
}

/// `0` or `1`.
pub fn flag(value: &str) -> Result<bool, String> {
    match value {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err("0 or 1 is expected".to_owned()),
    }
}

/// An instant, ns since 1970: a duration back from now, or RFC 3339.
pub fn instant(text: &str, now: Timestamp) -> Result<i64, String> {
    // What is beyond the years that fit is all the same: before or after everything.
    let ns = |at: Timestamp| {
        let ns = at.as_nanosecond();
        i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX })
    };
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(ns(at));
    }
    match config::duration(text) {
        Ok(back) => {
            let back = i64::try_from(back.as_nanos()).unwrap_or(i64::MAX);
            Ok(ns(now).saturating_sub(back))
        }
        Err(_) => Err(
            "neither a duration back from now (`10m`, `1h30m`) nor a time with its offset \
             (`2026-01-31T10:00:00Z`, `2026-01-31T12:00:00+02:00`)"
                .to_owned(),
        ),
    }
}

/// The same as an end: a time as `logs` shows it, to the microsecond, ends with that microsecond.
pub fn end(text: &str, now: Timestamp) -> Result<i64, String> {
    let at = instant(text, now)?;
    let is_whole = at % 1000 == 0;
    Ok(if is_whole { at.saturating_add(999) } else { at })
}

/// `GET /v1/logs`.
pub fn logs(text: &str) -> Result<LogsRequest, Refusal> {
    let mut request = LogsRequest::default();
    each(text, &["service"], |key, value| {
        let query = &mut request.query;
        match key {
            "service" => request.services.push(value.to_owned()),
            "follow" => request.follow = flag(value)?,
            "tail" => query.tail = Some(number(value)?),
            "since" => query.since_ns = Some(instant(value, Timestamp::now())?),
            "until" => query.until_ns = Some(end(value, Timestamp::now())?),
            "grep" => query.grep = Some(logs::pattern(value)?),
            "stream" => query.stream = Some(stream(value)?),
            "run" => query.run = Some(which(value)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(request)
}

fn stream(value: &str) -> Result<Stream, String> {
    match value {
        "out" => Ok(Stream::Out),
        "err" => Ok(Stream::Err),
        _ => Err("`out` or `err` is expected".to_owned()),
    }
}

fn which(value: &str) -> Result<Which, String> {
    match value {
        "previous" => Ok(Which::Previous),
        _ => number(value)
            .map(Which::Number)
            .map_err(|_| "a number or `previous` is expected".to_owned()),
    }
}

/// The path and query by which a client asks for this.
pub fn of_logs(request: &LogsRequest) -> String {
    let LogsRequest {
        services,
        follow,
        query,
    } = request;
    let Query {
        run,
        stream,
        since_ns,
        until_ns,
        grep,
        tail,
    } = query;
    let mut pairs = form_urlencoded::Serializer::new(String::new());
    for service in services {
        pairs.append_pair("service", service);
    }
    if *follow {
        pairs.append_pair("follow", "1");
    }
    if let Some(tail) = tail {
        pairs.append_pair("tail", &tail.to_string());
    }
    for (key, instant) in [("since", since_ns), ("until", until_ns)] {
        if let Some(ns) = instant {
            pairs.append_pair(key, &timestamp_ns(*ns));
        }
    }
    if let Some(grep) = grep {
        pairs.append_pair("grep", grep.as_str());
    }
    if let Some(stream) = stream {
        let word = match stream {
            Stream::Out => "out",
            Stream::Err => "err",
        };
        pairs.append_pair("stream", word);
    }
    if let Some(which) = run {
        let word = match which {
            Which::Number(number) => number.to_string(),
            Which::Previous => "previous".to_owned(),
        };
        pairs.append_pair("run", &word);
    }
    format!("/v1/logs?{}", pairs.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        let refusal = logs(text).expect_err("refused");
        assert_eq!(refusal.status, 400);
        refusal.detail
    }

    #[test]
    fn what_a_client_encodes_is_what_the_server_reads() {
        let request = LogsRequest {
            services: vec!["web".into(), "@a b&c=ä%".into()],
            follow: true,
            query: Query {
                run: Some(Which::Previous),
                stream: Some(Stream::Err),
                since_ns: Some(1_700_000_000_123_456_789),
                until_ns: Some(i64::MAX),
                grep: logs::pattern(r"a+\d & =%41").ok(),
                tail: Some(7),
            },
        };
        let path = of_logs(&request);
        assert!(path.is_ascii() && !path.contains(' '), "{path}");
        let read = logs(path.strip_prefix("/v1/logs?").expect("the route")).expect("understood");
        assert_eq!(format!("{read:?}"), format!("{request:?}"));
        assert_eq!(of_logs(&LogsRequest::default()), "/v1/logs?");
    }

    #[test]
    fn what_is_not_understood_is_refused_in_words() {
        assert_eq!(refusal("colour=1"), "there is no parameter `colour`");
        assert_eq!(refusal("tail=1&tail=2"), "`tail` is there twice");
        assert_eq!(refusal("tail=-1"), "`tail=-1`: a number is expected");
        assert_eq!(refusal("run=x"), "`run=x`: a number or `previous` is expected");
        assert_eq!(refusal("follow"), "`follow=`: 0 or 1 is expected");
        assert!(refusal("since=soon").contains("neither a duration back from now"));
        assert!(refusal("grep=(").contains("unclosed group"));
        assert_eq!(
            refusal("grep=x{1000}{1000}").split(": ").last(),
            Some("the pattern is too large")
        );
        assert!(refusal(&format!("grep={}", "x".repeat(5000))).len() < 200);
        assert!(logs("&&service=a&service=b&").is_ok_and(|request| request.services == ["a", "b"]));
    }

    #[test]
    fn instants_are_durations_back_or_times() {
        let now = Timestamp::from_second(1_000_000).expect("in range");
        assert_eq!(instant("10m", now), Ok(999_400_000_000_000));
        assert_eq!(instant("1970-01-01T01:00:00.5+01:00", now), Ok(500_000_000));
        assert_eq!(end("1970-01-01T00:00:00.000001Z", now), Ok(1_999));
        assert_eq!(end("1970-01-01T00:00:00.000001001Z", now), Ok(1_001));
        assert_eq!(instant("-009000-01-01T00:00:00Z", now), Ok(i64::MIN));
        for rubbish in ["", "10", "yesterday", "2026-01-01", "2026-01-01T10:00:00", "-5m"] {
            assert!(instant(rubbish, now).is_err(), "{rubbish}");
        }
    }

    /// xorshift64*, so that a seed replays.
    fn next(state: &mut u64) -> usize {
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize
    }

    #[test]
    fn ap_13_any_bytes_give_one_answer_or_one_refusal() {
        const PIECES: &[&str] = &[
            "service",
            "follow",
            "tail",
            "since",
            "until",
            "grep",
            "stream",
            "run",
            "=",
            "&",
            "%",
            "%4",
            "%00",
            "+",
            "1",
            "out",
            "10m",
            "previous",
            "(a*)*",
            "99999999999999999999",
            "\u{e4}",
            "\0",
            "[",
            "x{999}",
        ];
        let (mut taken, mut refused) = (0, 0);
        for seed in 1..=5_000u64 {
            let mut state = seed;
            let mut text = String::new();
            for _ in 0..next(&mut state) % 12 {
                match next(&mut state) % 8 {
                    0 => text.push(char::from((next(&mut state) % 256) as u8)),
                    1 => text.push_str("&tail=3"),
                    _ => text.push_str(PIECES[next(&mut state) % PIECES.len()]),
                }
            }
            match logs(&text) {
                Ok(_) => taken += 1,
                Err(refusal) => {
                    assert!(
                        refusal.status == 400 && !refusal.detail.is_empty(),
                        "seed {seed}: {text:?}"
                    );
                    refused += 1;
                }
            }
        }
        assert!(taken > 100 && refused > 100, "{taken} taken, {refused} refused");
    }
}
