//! The secret of a network, and the proof that a process has it.
//!
//! The secret is never sent. A process may listen on a port that the registry lists for another
//! one, and every user of the machine can dial. So both sides prove that they have the secret,
//! over nonces drawn by the other side and the port they talk over. A proof for one port is not
//! valid for another one, so that it cannot be relayed to the process that it is meant to
//! deceive.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use ring::hmac::{self, HMAC_SHA256, Key};
use ring::rand::{SecureRandom, SystemRandom};

use crate::lonet::handshake::Side;

/// The secret of a network; it is never printed.
#[derive(Clone)]
pub(crate) struct Secret {
    key: Key,
    pub(crate) is_empty: bool,
}

/// The facts that a proof is about. A proof of one side is not valid for the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProofInput<'a> {
    pub(crate) network: &'a str,
    /// The listening address of the acceptor.
    pub(crate) acceptor_addr: SocketAddr,
    /// The nonces of both sides.
    pub(crate) dialer_nonce: &'a str,
    pub(crate) acceptor_nonce: &'a str,
}

impl Secret {
    pub(crate) fn new(secret: &[u8]) -> Self {
        Self { key: Key::new(HMAC_SHA256, secret), is_empty: secret.is_empty() }
    }

    /// Proves, as hexadecimal digits, that this side knows the secret.
    pub(crate) fn prove(&self, side: Side, input: &ProofInput<'_>) -> String {
        encode_hex(hmac::sign(&self.key, &input.to_bytes(side)).as_ref())
    }

    /// Says whether a proof is one; how long that takes says nothing of the right one.
    pub(crate) fn verify(&self, proof: &str, side: Side, input: &ProofInput<'_>) -> bool {
        let proof = decode_hex(proof);
        proof.is_some_and(|proof| hmac::verify(&self.key, &input.to_bytes(side), &proof).is_ok())
    }
}

impl ProofInput<'_> {
    /// All of it as one text, of which no other subject has the same.
    fn to_bytes(self, side: Side) -> Vec<u8> {
        let side = match side {
            Side::Acceptor => "acceptor",
            Side::Dialer => "dialer",
        };
        let acceptor_addr = self.acceptor_addr.to_string();
        let parts = [
            "virtnet lonet 1",
            side,
            self.network,
            &acceptor_addr,
            self.dialer_nonce,
            self.acceptor_nonce,
        ];
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
    Ok(encode_hex(&nonce))
}

fn encode_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let byte = |index: usize| u8::from_str_radix(text.get(index..index + 2)?, 16).ok();
    (0..digits.len()).step_by(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::{ProofInput, Secret, nonce};
    use crate::lonet::handshake::Side;

    #[test]
    fn proof_verifies_only_for_its_input_side_and_secret() {
        let addr = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let input = ProofInput {
            network: "lonett",
            acceptor_addr: addr(1),
            dialer_nonce: "d",
            acceptor_nonce: "a",
        };
        let (secret, other) = (Secret::new(b"one"), Secret::new(b"other"));
        let proof = secret.prove(Side::Dialer, &input);
        assert!(secret.verify(&proof, Side::Dialer, &input));
        assert!(!other.verify(&proof, Side::Dialer, &input));
        assert!(!secret.verify(&proof, Side::Acceptor, &input));
        for changed in [
            ProofInput { network: "lonetx", ..input },
            ProofInput { acceptor_addr: addr(2), ..input },
            ProofInput { dialer_nonce: "da", acceptor_nonce: "", ..input },
            ProofInput { dialer_nonce: "a", acceptor_nonce: "d", ..input },
        ] {
            assert!(!secret.verify(&proof, Side::Dialer, &changed), "{changed:?}");
        }
        for no_proof in ["", "0", "xx", "é", &proof[2..], &format!("{proof}00")] {
            assert!(!secret.verify(no_proof, Side::Dialer, &input), "{no_proof}");
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
