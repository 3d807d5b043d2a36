//! A secret of a network, and how two processes prove to each other that they know it.
//!
//! Knows keys, nonces and proofs; knows no socket. The secret itself is never sent. A process may
//! have got a port that the registry gives for another one, and any user of the machine may dial:
//! so both sides prove what they know, about numbers that the other has drawn, and about the port
//! that they talk over. A proof made for one port is none at another, so that it cannot be passed
//! on to the process that it is meant to deceive.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use ring::hmac::{self, HMAC_SHA256, Key};
use ring::rand::{SecureRandom, SystemRandom};

use crate::lonet::handshake::Side;

/// What all processes of a network know; nothing prints it.
#[derive(Clone)]
pub(crate) struct Secret {
    key: Key,
    pub(crate) is_empty: bool,
}

/// What a proof is about. Besides, that of one side is none of the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) network: &'a str,
    /// Where the acceptor listens.
    pub(crate) at: SocketAddr,
    /// What each side has drawn.
    pub(crate) dialer: &'a str,
    pub(crate) acceptor: &'a str,
}

impl Secret {
    pub(crate) fn new(secret: &[u8]) -> Self {
        Self { key: Key::new(HMAC_SHA256, secret), is_empty: secret.is_empty() }
    }

    /// Proves, as hexadecimal digits, that this side knows the secret.
    pub(crate) fn prove(&self, side: Side, subject: &Subject<'_>) -> String {
        hex(hmac::sign(&self.key, &subject.text(side)).as_ref())
    }

    /// Says whether a proof is one; how long that takes says nothing of the right one.
    pub(crate) fn is_proof(&self, proof: &str, side: Side, subject: &Subject<'_>) -> bool {
        let proof = unhex(proof);
        proof.is_some_and(|proof| hmac::verify(&self.key, &subject.text(side), &proof).is_ok())
    }
}

impl Subject<'_> {
    /// All of it as one text, of which no other subject has the same.
    fn text(&self, side: Side) -> Vec<u8> {
        let side = match side {
            Side::Acceptor => "acceptor",
            Side::Dialer => "dialer",
        };
        let at = self.at.to_string();
        let parts = ["virtnet lonet 1", side, self.network, &at, self.dialer, self.acceptor];
        let part = |part: &str| [&(part.len() as u64).to_le_bytes(), part.as_bytes()].concat();
        parts.iter().flat_map(|text| part(text)).collect()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Draws a number that was never drawn before, as hexadecimal digits.
///
/// # Errors
///
/// If the system has no random numbers.
pub(crate) fn nonce() -> io::Result<String> {
    let mut nonce = [0; 16];
    let drawn = SystemRandom::new().fill(&mut nonce);
    drawn.map_err(|_| io::Error::other("the system has no random numbers"))?;
    Ok(hex(&nonce))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let byte = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..digits.len()).step_by(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::{Secret, Subject, nonce};
    use crate::lonet::handshake::Side;

    #[test]
    fn proof_is_good_for_its_subject_side_and_secret_alone() {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let subject = Subject { network: "lonett", at: at(1), dialer: "d", acceptor: "a" };
        let (secret, other) = (Secret::new(b"one"), Secret::new(b"other"));
        let proof = secret.prove(Side::Dialer, &subject);
        assert!(secret.is_proof(&proof, Side::Dialer, &subject));
        assert!(!other.is_proof(&proof, Side::Dialer, &subject));
        assert!(!secret.is_proof(&proof, Side::Acceptor, &subject));
        for another in [
            Subject { network: "lonetx", ..subject },
            Subject { at: at(2), ..subject },
            Subject { dialer: "da", acceptor: "", ..subject },
            Subject { dialer: "a", acceptor: "d", ..subject },
        ] {
            assert!(!secret.is_proof(&proof, Side::Dialer, &another), "{another:?}");
        }
        for no_proof in ["", "0", "xx", "é", &proof[2..], &format!("{proof}00")] {
            assert!(!secret.is_proof(no_proof, Side::Dialer, &subject), "{no_proof}");
        }
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }

    #[test]
    fn nonces_differ_and_have_32_digits() {
        let (one, other) = (nonce().unwrap(), nonce().unwrap());
        assert_ne!(one, other);
        assert!(one.len() == 32 && one.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
