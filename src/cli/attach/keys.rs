//! The keys that leave a terminal, found among what is typed.

/// A sequence of bytes, as keys send them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

/// More than anybody types.
const MOST: usize = 16;

impl DetachKeys {
    /// `ctrl-p,ctrl-q`; nothing at all: there are none.
    ///
    /// # Errors
    /// In words, for a person.
    pub fn parse(text: &str) -> Result<DetachKeys, String> {
        if text.is_empty() {
            return Ok(DetachKeys(Vec::new()));
        }
        let keys: Result<Vec<u8>, String> = text.split(',').map(key).collect();
        let keys = keys?;
        match keys.len() > MOST {
            true => Err(format!("at most {MOST} keys")),
            false => Ok(DetachKeys(keys)),
        }
    }
}

impl DetachKeys {
    pub fn none() -> DetachKeys {
        DetachKeys(Vec::new())
    }
}

impl std::fmt::Display for DetachKeys {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return out.write_str("its end");
        }
        for (index, &byte) in self.0.iter().enumerate() {
            let space = if index > 0 { " " } else { "" };
            match byte {
                0..0x20 => write!(out, "{space}ctrl-{}", char::from(byte + b'@').to_ascii_lowercase())?,
                _ => write!(out, "{space}{}", char::from(byte))?,
            }
        }
        Ok(())
    }
}

fn key(word: &str) -> Result<u8, String> {
    let unknown = || {
        Err(format!(
            "`{word}` is no key: a single character, or ctrl- and a letter or one of @ [ \\ ] ^ _"
        ))
    };
    let control = word.strip_prefix("ctrl-").or_else(|| word.strip_prefix("Ctrl-"));
    match (control.unwrap_or(word).as_bytes(), control.is_some()) {
        ([letter @ (b'a'..=b'z' | b'A'..=b'Z' | b'@' | b'['..=b'_')], true) => Ok(letter & 0x1f),
        ([byte @ 0x20..=0x7e], false) => Ok(*byte),
        _ => unknown(),
    }
}

/// Looks at what is typed. What may be the beginning of the keys is held until it is known.
#[derive(Debug)]
pub struct Watch {
    keys: Vec<u8>,
    /// So many of them are held.
    held: usize,
}

impl Watch {
    pub fn of(keys: &DetachKeys) -> Watch {
        Watch {
            keys: keys.0.clone(),
            held: 0,
        }
    }

    /// What goes to the service; `true`: the keys were typed, and the rest is nobody's.
    pub fn see(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut out = Vec::with_capacity(typed.len());
        if self.keys.is_empty() {
            out.extend_from_slice(typed);
            return (out, false);
        }
        for &byte in typed {
            // What was held for nothing goes on, but for its end that may begin them anew.
            while self.held > 0 && self.keys[self.held] != byte {
                let next = self.shorter();
                out.extend_from_slice(&self.keys[..self.held - next]);
                self.held = next;
            }
            if self.keys[self.held] == byte {
                self.held += 1;
            } else {
                out.push(byte);
            }
            if self.held == self.keys.len() {
                self.held = 0;
                return (out, true);
            }
        }
        (out, false)
    }

    /// The longest beginning of the keys that is shorter than what is held and ends it.
    fn shorter(&self) -> usize {
        let held = &self.keys[..self.held];
        (0..self.held)
            .rev()
            .find(|&length| held.ends_with(&self.keys[..length]))
            .unwrap_or(0)
    }

    /// What is still held when nothing more comes.
    pub fn finish(&mut self) -> Vec<u8> {
        self.keys[..std::mem::take(&mut self.held)].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(keys: &str) -> Watch {
        Watch::of(&DetachKeys::parse(keys).unwrap())
    }

    #[test]
    fn they_are_found_however_the_reads_are_cut() {
        let typed = b"ls\n\x10\x10\x11rest";
        for cut in 0..=typed.len() {
            let mut watch = watch("ctrl-p,ctrl-q");
            let (mut out, mut left) = watch.see(&typed[..cut]);
            if !left {
                let (more, found) = watch.see(&typed[cut..]);
                out.extend(more);
                left = found;
            }
            assert!(left, "cut at {cut}");
            assert_eq!(out, b"ls\n\x10", "cut at {cut}");
        }
    }

    #[test]
    fn what_only_began_like_them_goes_to_the_service() {
        let mut keys = watch("ctrl-p,ctrl-q");
        assert_eq!(keys.see(b"a\x10"), (b"a".to_vec(), false));
        assert_eq!(keys.see(b"b"), (b"\x10b".to_vec(), false));
        assert_eq!(keys.see(b"\x11"), (b"\x11".to_vec(), false));
        assert_eq!(keys.see(b"\x10"), (Vec::new(), false));
        assert_eq!(keys.finish(), b"\x10");
        let mut keys = watch("a,a,b");
        assert_eq!(keys.see(b"aaab-"), (b"a".to_vec(), true));
        let mut none = watch("");
        assert_eq!(none.see(b"\x10\x11"), (b"\x10\x11".to_vec(), false));
        assert_eq!(none.finish(), b"");
    }

    #[test]
    fn keys_are_characters_and_controls() {
        assert_eq!(DetachKeys::parse("ctrl-P,ctrl-@,x").unwrap().0, [0x10, 0, b'x']);
        for wrong in ["ctrl-", "ctrl-1", "xy", "a,,b", "ß", "\x10", &"a,".repeat(20)] {
            assert!(DetachKeys::parse(wrong).is_err(), "{wrong}");
        }
    }
}
