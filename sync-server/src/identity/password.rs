//! Passwords: argon2id, in the spelling that other systems read (`$argon2id$v=19$m=…,t=…,p=…$salt$hash`).

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// The crypto library failed, which only a broken machine makes it do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a password cannot be hashed on this machine")]
pub struct CannotHash;

/// A new password's hash, under a salt of its own.
pub(crate) fn hash(password: &str) -> Result<String, CannotHash> {
    let salt: [u8; SALT_BYTES] = random()?;
    let made = derive(password, &salt, (MEMORY_KIB, PASSES, LANES)).ok_or(CannotHash)?;
    Ok(format!(
        "${NAME}$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${}${}",
        STANDARD_NO_PAD.encode(salt),
        STANDARD_NO_PAD.encode(made)
    ))
}

/// Whether a password has this hash; nothing when the text is no hash. Takes as long for a wrong password as
/// for the right one.
pub(crate) fn fits(password: &str, hash: &str) -> Option<bool> {
    let parts: Vec<&str> = hash.split('$').collect();
    let ["", NAME, "v=19", costs, salt, expected] = parts[..] else { return None };
    let salt = STANDARD_NO_PAD.decode(salt).ok()?;
    let expected = STANDARD_NO_PAD.decode(expected).ok()?;
    let made = derive(password, &salt, costs_of(costs)?)?;
    Some(verify_slices_are_equal(&made, &expected).is_ok())
}

/// Random bytes of the system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], CannotHash> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| CannotHash)?;
    Ok(bytes)
}

fn derive(password: &str, salt: &[u8], (memory, passes, lanes): Costs) -> Option<[u8; 32]> {
    let params = Params::new(memory, passes, lanes, Some(32)).ok()?;
    let mut made = [0; 32];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password_into(password.as_bytes(), salt, &mut made).ok()?;
    Some(made)
}

/// Memory in KiB, passes, lanes.
type Costs = (u32, u32, u32);

/// The costs that a hash names, when they are bearable: a damaged row must not take all memory.
fn costs_of(text: &str) -> Option<Costs> {
    let (memory, rest) = text.strip_prefix("m=")?.split_once(",t=")?;
    let (passes, lanes) = rest.split_once(",p=")?;
    let costs: Costs = (memory.parse().ok()?, passes.parse().ok()?, lanes.parse().ok()?);
    (costs.0 <= MEMORY_KIB_MAX && costs.1 <= 16 && costs.2 <= 4).then_some(costs)
}

const NAME: &str = "argon2id";
const SALT_BYTES: usize = 16;
/// Memory of one hash, KiB: 19 MiB, OWASP's least for two passes. About 25 ms of one core.
const MEMORY_KIB: u32 = 19 * 1_024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// What a hash made elsewhere may take, KiB.
const MEMORY_KIB_MAX: u32 = 128 * 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_fits_its_own_hash_only_and_never_has_the_same_hash_twice() {
        let made = hash("correct horse").unwrap();
        assert!(made.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{made}");
        assert_eq!(fits("correct horse", &made), Some(true));
        for wrong in ["", "correct hors", "Correct horse", "correct horse ", "correct\0horse"] {
            assert_eq!(fits(wrong, &made), Some(false), "{wrong:?}");
        }
        assert_ne!(hash("correct horse").unwrap(), made);
    }

    #[test]
    fn a_hash_of_another_maker_is_read() {
        // Of the reference implementation's own tests: echo -n "password" | argon2 somesalt -id -t 2 -m 16
        let made = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        assert_eq!(fits("password", made), Some(true));
        assert_eq!(fits("passwore", made), Some(false));
    }

    #[test]
    fn what_is_no_hash_or_costs_too_much_fits_nothing() {
        for text in [
            "",
            "password",
            "$argon2i$v=19$m=19456,t=2,p=1$c29tc2FsdA$AAAA",
            "$argon2id$v=16$m=19456,t=2,p=1$c29tc2FsdA$AAAA",
            "$argon2id$v=19$m=4294967295,t=2,p=1$c29tc2FsdA$AAAA",
            "$argon2id$v=19$m=19456,t=4000000,p=1$c29tc2FsdA$AAAA",
            "$argon2id$v=19$m=19456,t=2,p=1$?$AAAA",
            "$argon2id$v=19$m=19456,t=2,p=1$c29tc2FsdA$AAAA$",
        ] {
            assert_eq!(fits("password", text), None, "{text}");
        }
    }
}
