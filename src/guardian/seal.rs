//! What is written for who comes after us carries its checksum: torn or altered, it is as good as missing (`CR-07`).

use sha2::{Digest, Sha256};

/// Against accidents, not against forgers: whoever can write there can do anything.
pub fn checksum(bytes: &[u8]) -> String {
    let sum = Sha256::digest(bytes);
    sum[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

const KEY: &str = ",\"checksum\":\"";
const END: &str = "\"}\n";

/// A JSON object that is not empty, with the checksum of what is before it as its last member.
pub fn seal(object: &str) -> String {
    let open = object.trim_end().strip_suffix('}').unwrap_or(object);
    format!("{open}{KEY}{}{END}", checksum(open.as_bytes()))
}

/// Whether these bytes are what was sealed.
pub fn is_whole(sealed: &[u8]) -> bool {
    let parts = sealed.strip_suffix(END.as_bytes()).and_then(|rest| {
        let (rest, sum) = rest.split_at_checked(rest.len().checked_sub(16)?)?;
        Some((rest.strip_suffix(KEY.as_bytes())?, sum))
    });
    parts.is_some_and(|(open, sum)| checksum(open).as_bytes() == sum)
}
