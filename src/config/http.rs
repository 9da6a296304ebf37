//! The address of `project.http` and of `up --http`: where it would listen, and whether that is for this machine alone.

use std::net::{IpAddr, SocketAddr};

/// Why an address can't be used, for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpFault {
    pub message: String,
    pub suggestion: Option<String>,
}

/// What is wrong with an address such as `127.0.0.1:7070`, `[::1]:7070` or `localhost:7070`, if anything is. Without a host
/// (`:7070`) it means all addresses of the machine. Names are not looked up: but for `localhost` they are other machines' too.
pub fn http_fault(address: &str) -> Option<HttpFault> {
    let Some((host, port)) = split(address) else {
        return Some(HttpFault {
            message: "expected an address such as `127.0.0.1:7070`".to_owned(),
            suggestion: None,
        });
    };
    let loopback = match host {
        "localhost" => true,
        host => host
            .parse()
            .is_ok_and(|address: IpAddr| address.to_canonical().is_loopback()),
    };
    // AP-09: whoever reaches it can do what its user can.
    (!loopback).then(|| HttpFault {
        message: format!(
            "`{address}` can be reached from other machines, and without a token anybody there could stop services and run commands as you"
        ),
        suggestion: Some(format!(
            "`127.0.0.1:{port}`, and from elsewhere `ssh -L {port}:127.0.0.1:{port} HOST`"
        )),
    })
}

/// Host without brackets, and port.
fn split(address: &str) -> Option<(&str, u16)> {
    if let Ok(SocketAddr::V6(whole)) = address.parse() {
        let (host, _) = address.strip_prefix('[')?.split_once(']')?;
        return Some((host, whole.port()));
    }
    let (host, port) = address.rsplit_once(':')?;
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|_| is_number)?;
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    host.bytes().all(is_host).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ap_09_only_loopback_goes_without_a_token() {
        for address in [
            "127.0.0.1:7070",
            "127.9.9.9:1",
            "[::1]:7070",
            "[::ffff:127.0.0.1]:70",
            "localhost:7070",
        ] {
            assert_eq!(http_fault(address), None, "{address}");
        }
        for address in [
            "0.0.0.0:7070",
            "[::]:7070",
            ":7070",
            "192.168.1.5:80",
            "[fe80::1]:80",
            "example.com:80",
            "[::ffff:10.0.0.1]:80",
            "127.0.0.1.example.com:80",
        ] {
            let fault = http_fault(address).unwrap();
            assert!(
                fault.message.starts_with(&format!("`{address}` can be reached")),
                "{address}"
            );
            assert!(fault.suggestion.unwrap().starts_with("`127.0.0.1:"), "{address}");
        }
    }

    #[test]
    fn what_is_no_address_is_told() {
        for text in [
            "",
            "7070",
            "::1:7070",
            "[::1]",
            "[::1]:",
            "127.0.0.1:",
            "127.0.0.1:70000",
            "127.0.0.1:+70",
            "http://127.0.0.1:70",
            "a b:70",
            "localhost",
        ] {
            let fault = http_fault(text).unwrap();
            assert_eq!(fault.message, "expected an address such as `127.0.0.1:7070`", "{text}");
        }
    }
}
