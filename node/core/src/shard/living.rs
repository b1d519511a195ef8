//! Which vaults live. Not here: what makes one (`shard/vaults.rs`) and ends it (`shard/deletion.rs`).

use strongroom_format::id::VaultId;
use strongroom_format::outcome::Refusal;

use crate::shard::rows::VaultRow;
use crate::shard::scope::TenantScope;
use crate::stop::Ruled;
use crate::tables::Reads;

/// A vault that has not ended. One that has is as if absent, but for its name and id.
pub(crate) fn vault(scope: &TenantScope, reads: &dyn Reads, vault: VaultId) -> Ruled<VaultRow> {
    let row: Option<VaultRow> = scope.get(reads, &(vault,))?;
    Ok(row.filter(|row| row.end.is_none()).ok_or(Refusal::NotFound)?)
}
