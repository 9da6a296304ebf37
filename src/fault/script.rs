//! What happens at which hit.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Off,
    /// SIGKILL to this process.
    Kill,
    /// SIGSTOP to this process.
    Stop,
    Panic,
}

/// `3*off->1*kill` of one point.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Script {
    pub name: String,
    /// `None`: for ever.
    deeds: Vec<(Option<u64>, Deed)>,
}

impl Script {
    /// What happens at this hit, counted from 1.
    pub fn at(&self, hit: u64) -> Deed {
        let mut left = hit;
        for (times, deed) in &self.deeds {
            match times {
                Some(times) if left > *times => left -= times,
                _ => return *deed,
            }
        }
        Deed::Off
    }
}

/// What is not understood is an error: a test that does nothing must not pass.
pub(super) fn parse(text: &str) -> Result<Vec<Script>, String> {
    text.split(';').filter(|part| !part.is_empty()).map(one).collect()
}

fn one(text: &str) -> Result<Script, String> {
    let (name, deeds) = text.split_once('=').ok_or_else(|| format!("`{text}` has no `=`"))?;
    let deed = |word: &str| {
        let (times, word) = match word.split_once('*') {
            Some((times, word)) => (
                Some(times.parse().map_err(|_| format!("`{times}` is no number"))?),
                word,
            ),
            None => (None, word),
        };
        match word {
            "off" => Ok((times, Deed::Off)),
            "kill" => Ok((times, Deed::Kill)),
            "stop" => Ok((times, Deed::Stop)),
            "panic" => Ok((times, Deed::Panic)),
            _ => Err(format!("`{word}` is no action: off, kill, stop, panic")),
        }
    };
    let deeds: Result<_, String> = deeds.split("->").map(deed).collect();
    Ok(Script {
        name: name.to_owned(),
        deeds: deeds?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hit_has_its_deed() {
        let scripts = parse("a.b=2*off->1*kill->1*stop->panic;c=kill").unwrap();
        let deeds: Vec<_> = (1..6).map(|hit| scripts[0].at(hit)).collect();
        assert_eq!(deeds, [Deed::Off, Deed::Off, Deed::Kill, Deed::Stop, Deed::Panic]);
        assert_eq!((scripts[1].name.as_str(), scripts[1].at(1_000_000)), ("c", Deed::Kill));
        assert_eq!(parse(""), Ok(Vec::new()));
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for text in ["a", "a=", "a=die", "a=x*kill", "a=kill->", "a=1*"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
