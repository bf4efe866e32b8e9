//! Files in a tar archive, read into memory. Nothing is unpacked anywhere.

use std::collections::BTreeMap;
use std::io::Read;

/// The most bytes that an archive may unpack to.
const UNPACKED_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// The most files in it.
const FILES_MAX: usize = 20_000;

/// Reads the plain files of an archive by their names, without a `./` in front. Links, devices and directories
/// are passed over.
pub(super) fn files(unpacked: impl Read) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let mut bounded = unpacked.take(UNPACKED_BYTES_MAX + 1);
    let mut files = BTreeMap::new();
    {
        let mut archive = tar::Archive::new(&mut bounded);
        for entry in archive.entries().map_err(|error| error.to_string())? {
            let mut entry = entry.map_err(|error| error.to_string())?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).map_err(|error| error.to_string())?;
            files.insert(name, content);
            if files.len() > FILES_MAX {
                return Err(format!("more than {FILES_MAX} files"));
            }
        }
    }
    if bounded.limit() == 0 {
        return Err(format!("it unpacks to more than {} MiB", UNPACKED_BYTES_MAX / 1024 / 1024));
    }
    Ok(files)
}
