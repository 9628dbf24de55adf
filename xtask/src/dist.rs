//! `cargo xtask dist`: what a release consists of: a static binary, an image of it in OCI's layout, a list of what is in it, and
//! checksums, all below `target/dist`. Called by `main`. It uploads nothing and needs no container engine.

mod archive;
#[cfg(test)]
mod buildah;
mod image;
mod sbom;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ring::digest::{Digest, SHA256, digest};

use crate::gate;
use crate::runner::Runner;

/// What it is built for, and what a container calls that; the second only where rustup has it.
const TARGETS: [(&str, &str); 2] =
    [("x86_64-unknown-linux-gnu", "amd64"), ("aarch64-unknown-linux-gnu", "arm64")];
/// A run that takes longer is ended.
const HOURS_MAX: u64 = 3;

/// Builds it and packs it; `--binary FILE` packs one that is there, for this machine's kind.
pub(crate) fn main(arguments: &[String]) -> Result<bool> {
    let root = gate::root()?;
    let runner = Runner::new(&root, Instant::now() + Duration::from_secs(HOURS_MAX * 3_600))?;
    let dist = gate::target_folder(&root).join("dist");
    if dist.exists() {
        fs::remove_dir_all(&dist)?;
    }
    fs::create_dir_all(&dist)?;
    let native = TARGETS.first().context("there is a target")?;
    match arguments {
        [] => {
            for target in TARGETS {
                if target == *native || has_toolchain(&runner, target.0) {
                    let binary = build(&runner, &root, target.0)?;
                    pack(&dist, &binary, target)?;
                } else {
                    println!("{}: its toolchain is not at hand", target.0);
                }
            }
        }
        [flag, binary] if flag == "--binary" => pack(&dist, Path::new(binary), *native)?,
        other => bail!("dist takes nothing or `--binary FILE`, not {other:?}"),
    }
    fs::write(dist.join("quelea.cdx.json"), sbom::of(&root)?)?;
    checksums(&dist)?;
    println!("{}", dist.display());
    Ok(true)
}

/// Whether rustup has the library, and the system a linker.
fn has_toolchain(runner: &Runner, target: &str) -> bool {
    let mut command = Command::new("rustc");
    command.args(["--print", "target-libdir", "--target", target]);
    let library = command.output().map(|done| String::from_utf8_lossy(&done.stdout).trim().to_owned());
    let linker = format!("{}-gcc", target.replace("-unknown", ""));
    library.is_ok_and(|library| Path::new(&library).is_dir()) && runner.find(&linker).is_some()
}

/// A binary that needs no library of the system it runs on.
fn build(runner: &Runner, root: &Path, target: &str) -> Result<PathBuf> {
    let auditable = runner.find("cargo-auditable").is_some();
    let mut command = runner.cargo(if auditable { "auditable" } else { "build" });
    if auditable {
        // What the binary was made of can be read out of it.
        command.arg("build");
    }
    command.args([
        "--release",
        "--locked",
        "--package",
        "broker-node",
        "--bin",
        "quelea",
        "--target",
        target,
    ]);
    let remap = format!(
        "-C target-feature=+crt-static -C strip=debuginfo --remap-path-prefix={}=quelea",
        root.display()
    );
    command.env("RUSTFLAGS", remap).env("CARGO_INCREMENTAL", "0");
    if target != "x86_64-unknown-linux-gnu" {
        let name = target.to_ascii_uppercase().replace('-', "_");
        let linker = format!("{}-gcc", target.replace("-unknown", ""));
        command.env(format!("CARGO_TARGET_{name}_LINKER"), linker);
    }
    let status = runner.run(command)?;
    ensure!(status.success(), "the broker does not build for {target}");
    Ok(gate::target_folder(root).join(target).join("release/quelea"))
}

/// Puts the binary and an image of it into place.
fn pack(dist: &Path, binary: &Path, (target, architecture): (&str, &str)) -> Result<()> {
    let bytes = fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
    ensure!(is_static(&bytes), "{} is not static: it would need a loader in its image", binary.display());
    let name = format!("quelea-{}-{target}", env!("CARGO_PKG_VERSION"));
    let place = dist.join(&name);
    fs::write(&place, &bytes)?;
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755))?;
    image::context(&dist.join(if architecture == "amd64" { "image" } else { "image-arm64" }), &bytes)?;
    image::layout(&dist.join(format!("{name}.oci")), &bytes, architecture)
}

/// Whether an ELF binary asks for no loader: there is no segment of type PT_INTERP (3) in it.
fn is_static(elf: &[u8]) -> bool {
    let number = |at: usize, bytes: usize| -> Option<usize> {
        let raw = elf.get(at..at.checked_add(bytes)?)?;
        Some(raw.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    };
    let headers = || -> Option<bool> {
        // A 64-bit file, least byte first: offset, size and number of its program headers.
        let (offset, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
        let types = (0..count).map(|entry| number(offset.checked_add(entry * size)?, 4));
        types.collect::<Option<Vec<_>>>().map(|types| !types.contains(&3))
    };
    elf.starts_with(b"\x7fELF\x02\x01") && headers() == Some(true)
}

/// A digest as hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    let digest: Digest = digest(&SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `SHA256SUMS`, as `sha256sum --check` reads it, of all files beside it and below.
fn checksums(dist: &Path) -> Result<()> {
    let mut files = Vec::new();
    walk(dist, dist, &mut files)?;
    files.sort();
    let lines = files.iter().map(|file| Ok(format!("{}  {file}\n", hex(&fs::read(dist.join(file))?))));
    fs::write(dist.join("SHA256SUMS"), lines.collect::<Result<String>>()?)?;
    Ok(())
}

/// The files below a folder, relative to `base`; what is only a build's context is left out.
fn walk(base: &Path, folder: &Path, files: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            let is_context = folder == base
                && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("image"));
            if !is_context {
                walk(base, &path, files)?;
            }
        } else {
            files.push(path.strip_prefix(base)?.to_string_lossy().into_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF header with one program header of this type.
    fn elf(kind: u8) -> Vec<u8> {
        let mut elf = vec![0; 64 + 56];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[32] = 64;
        elf[54] = 56;
        elf[56] = 1;
        elf[64] = kind;
        elf
    }

    #[test]
    fn a_binary_with_a_loader_is_not_static() {
        assert!(is_static(&elf(1)));
        assert!(!is_static(&elf(3)), "PT_INTERP");
        assert!(!is_static(elf(1).get(..66).unwrap()), "cut off");
        assert!(!is_static(b"#!/bin/sh\n"));
        // This very program is of the usual kind.
        assert!(!is_static(&fs::read(std::env::current_exe().unwrap()).unwrap()));
    }

    #[test]
    fn checksums_are_of_everything_but_the_context() {
        let dir = std::env::temp_dir().join(format!("quelea-dist-{}", std::process::id()));
        fs::create_dir_all(dir.join("a.oci/blobs")).unwrap();
        fs::create_dir_all(dir.join("image/usr")).unwrap();
        for file in ["b", "a.oci/blobs/c", "image/usr/d"] {
            fs::write(dir.join(file), "abc").unwrap();
        }
        checksums(&dir).unwrap();
        let sums = fs::read_to_string(dir.join("SHA256SUMS")).unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sums, format!("{abc}  a.oci/blobs/c\n{abc}  b\n"));
        fs::remove_dir_all(dir).unwrap();
    }
}
