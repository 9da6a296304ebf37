//! Server-sent events (the HTML standard, 9.2): how `GET /v1/events` writes them, and how a client reads them.

/// One event: its number, and its JSON, which holds no line end.
pub fn encode(cursor: u64, json: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("id: {cursor}\ndata: ").as_bytes());
    out.extend_from_slice(json);
    out.extend_from_slice(b"\n\n");
}

/// Takes the JSON of whole events out of what has come so far.
pub fn decode(buffer: &mut Vec<u8>, see: &mut dyn FnMut(&[u8])) {
    let whole = memchr::memrchr(b'\n', buffer).map_or(0, |at| at + 1);
    for line in buffer[..whole].split(|&byte| byte == b'\n') {
        if let Some(json) = line.strip_prefix(b"data: ") {
            see(json);
        }
    }
    buffer.drain(..whole);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_the_way_in_any_pieces() {
        let mut stream = Vec::new();
        encode(7, b"{\"cursor\":7}", &mut stream);
        encode(8, b"{}", &mut stream);
        for size in 1..stream.len() {
            let (mut buffer, mut seen) = (Vec::new(), Vec::new());
            for piece in stream.chunks(size) {
                buffer.extend_from_slice(piece);
                decode(&mut buffer, &mut |json| seen.push(json.to_vec()));
            }
            assert_eq!(seen, [b"{\"cursor\":7}".to_vec(), b"{}".to_vec()], "pieces of {size}");
        }
    }
}
