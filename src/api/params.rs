//! The query strings of the routes beside `logs`: from words to shapes.

use super::query::{each, flag, number};
use super::wire::{EventsRequest, Refusal, UpRequest, WaitRequest};
use crate::reconcile::Goal;

/// `?reveal=1`.
pub(super) fn reveal(text: &str) -> Result<bool, Refusal> {
    let mut reveal = false;
    each(text, &[], |key, value| {
        match key {
            "reveal" => reveal = flag(value)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(reveal)
}

/// `?run=3`.
pub(super) fn run(text: &str) -> Result<Option<u32>, Refusal> {
    let mut run = None;
    each(text, &[], |key, value| {
        match key {
            "run" => run = Some(number(value)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(run)
}

/// `?service=a&service=@b`.
pub(super) fn names(text: &str) -> Result<Vec<String>, Refusal> {
    let mut names = Vec::new();
    each(text, &["service"], |key, value| {
        match key {
            "service" => names.push(value.to_owned()),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(names)
}

/// What an `up` with these words would be.
pub(super) fn plan(text: &str) -> Result<UpRequest, Refusal> {
    let mut up = UpRequest::default();
    each(text, &["service", "profile", "file"], |key, value| {
        match key {
            "service" => up.names.push(value.to_owned()),
            "profile" => up.profiles.push(value.to_owned()),
            "file" => up.files.push(value.into()),
            "no_deps" => up.no_deps = flag(value)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(up)
}

pub(super) fn wait(text: &str) -> Result<WaitRequest, Refusal> {
    let mut wait = WaitRequest {
        names: Vec::new(),
        goal: Goal::Ready,
        timeout_ms: None,
    };
    each(text, &["service"], |key, value| {
        match key {
            "service" => wait.names.push(value.to_owned()),
            "timeout_ms" => wait.timeout_ms = Some(number(value)?),
            "for" => {
                wait.goal = match value {
                    "up" => Goal::Up,
                    "ready" => Goal::Ready,
                    "stopped" => Goal::Stopped,
                    "completed" => Goal::Completed,
                    "failed" => Goal::Failed,
                    _ => return Err("`ready`, `stopped`, `completed` or `failed` is expected".to_owned()),
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(wait)
}

/// A browser that lost its stream says where it was in a header, which wins: the URL is still the one it began with.
pub(super) fn events(text: &str, last_event_id: Option<&[u8]>) -> Result<EventsRequest, Refusal> {
    let mut events = EventsRequest {
        since: None,
        follow: true,
    };
    each(text, &[], |key, value| {
        match key {
            "since" => events.since = Some(number(value)?),
            "follow" => events.follow = flag(value)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    if let Some(last) = last_event_id {
        let last = std::str::from_utf8(last).ok().and_then(|text| text.trim().parse().ok());
        let wrong = || Refusal::new(400, "request not understood", "`Last-Event-ID` is no cursor");
        events.since = Some(last.ok_or_else(wrong)?);
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_shapes_and_anything_else_is_refused() {
        assert_eq!(
            names("service=web%401&service=@back"),
            Ok(vec!["web@1".into(), "@back".into()])
        );
        let up = plan("profile=dev&no_deps=1&service=a").expect("understood");
        assert_eq!(
            (up.profiles, up.no_deps, up.names),
            (vec!["dev".into()], true, vec!["a".into()])
        );
        let waits = wait("for=stopped&timeout_ms=5&service=a").expect("understood");
        assert_eq!((waits.goal, waits.timeout_ms), (Goal::Stopped, Some(5)));
        assert_eq!(events("since=7&follow=0", None).expect("understood").since, Some(7));
        assert_eq!(events("since=7", Some(b"9")).expect("understood").since, Some(9));
        for wrong in ["for=ever", "timeout_ms=-1", "for=ready&for=ready", "what=x"] {
            assert_eq!(wait(wrong).expect_err("refused").status, 400, "{wrong}");
        }
        assert!(events("", Some(b"x")).is_err() && reveal("reveal=yes").is_err() && names("name=a").is_err());
    }

    /// xorshift64*, so that a seed replays.
    fn next(state: &mut u64) -> usize {
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize
    }

    #[test]
    fn ap_11_any_bytes_give_one_shape_or_one_refusal() {
        const PIECES: &[&str] = &[
            "service=web",
            "service=%40back",
            "profile=dev",
            "reveal=1",
            "no_deps=0",
            "since=7",
            "follow=0",
            "for=ready",
            "timeout_ms=5",
            "timeout_ms=18446744073709551616",
            "for=",
            "=",
            "&",
            "%",
            "%00",
            "%ff",
            "+",
            "-1",
            "\u{e4}",
            "\0",
        ];
        let (mut taken, mut refused) = (0, 0);
        for seed in 1..=5_000u64 {
            let mut state = seed;
            let mut text = String::new();
            for _ in 0..next(&mut state) % 5 {
                match next(&mut state) % 8 {
                    0 => text.push(char::from((next(&mut state) % 256) as u8)),
                    _ => text.push_str(PIECES[next(&mut state) % PIECES.len()]),
                }
                if !next(&mut state).is_multiple_of(3) {
                    text.push('&');
                }
            }
            let last = text.as_bytes();
            let last = next(&mut state).is_multiple_of(2).then_some(last);
            let read = [
                reveal(&text).map(drop),
                names(&text).map(drop),
                plan(&text).map(drop),
                wait(&text).map(drop),
                events(&text, last).map(drop),
            ];
            for outcome in read {
                match outcome {
                    Ok(()) => taken += 1,
                    Err(refusal) => {
                        assert!(
                            refusal.status == 400 && (1..300).contains(&refusal.detail.len()),
                            "seed {seed}: {text:?}"
                        );
                        refused += 1;
                    }
                }
            }
        }
        assert!(taken > 500 && refused > 500, "{taken} taken, {refused} refused");
    }
}
