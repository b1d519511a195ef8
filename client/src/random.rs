//! Random bytes from the operating system, for ids, keys, salts and wraps.

use crate::error::{Error, Result};

/// `N` random bytes.
///
/// # Errors
/// `Failed` if the system has none to give; nothing is made from weaker ones.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|cause| Error::failed("the system gives no random bytes", cause))?;
    Ok(bytes)
}
