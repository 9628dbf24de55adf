//! What a binary says of itself: cargo-auditable puts the list of its packages into one of its sections, where scanners look for it.
//! Called by `dist`. It installs that program below the target folder, never for the user.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, ensure};
use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;
use serde_json::Value;

use super::elf;
use crate::runner::Runner;

const NAME: &str = "cargo-auditable";
/// Pinned: another one may write the list in another way, and that would be another binary.
const VERSION: &str = "0.7.7";
/// How `cargo auditable` tells itself, started once more by cargo, what cargo was asked for.
const ASKED: &str = r#"{"offline":false,"locked":true,"frozen":false,"config":[]}"#;
/// Where the list is.
const SECTION: &str = ".dep-v0";
/// Bytes of a list; more is none.
const BYTES_MAX: usize = 16 << 20;

/// The program, installed below this folder where it is not there yet.
pub(super) fn program(runner: &Runner, folder: &Path) -> Result<PathBuf> {
    let root = folder.join("dist-tools").join(format!("{NAME}-{VERSION}"));
    let program = root.join("bin").join(NAME);
    if !program.is_file() {
        let build = root.join("build");
        let mut install = runner.cargo("install");
        install.args([NAME, "--version", VERSION, "--locked", "--root"]).arg(&root);
        install.env("CARGO_TARGET_DIR", &build);
        let status = runner.run(install)?;
        ensure!(
            status.success() && program.is_file(),
            "{NAME} {VERSION} cannot be installed; with `--no-audit` binaries are built that do not tell what they are made of"
        );
        std::fs::remove_dir_all(build)?;
    }
    Ok(program)
}

/// Has a build put the list in. `cargo auditable` would name itself to cargo by its path, and cargo makes that a part of each symbol's
/// name: another folder, another binary. So this does what it does, and names it without its folder.
pub(super) fn ask(build: &mut Command, program: &Path) -> Result<()> {
    let folder = program.parent().context("the program is in a folder")?.to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(folder).chain(std::env::split_paths(&path)))?;
    build.env("PATH", path).env("RUSTC_WORKSPACE_WRAPPER", NAME).env("CARGO_AUDITABLE_ORIG_ARGS", ASKED);
    Ok(())
}

/// How many packages a binary names that is made of this one and others.
///
/// # Errors
/// When it has no such list, or one of something else.
pub(super) fn packages(binary: &[u8], made_of: &str) -> Result<usize> {
    let section = elf::section(binary, SECTION);
    let section = section.with_context(|| format!("there is no section {SECTION} in it"))?;
    let list = decompress_to_vec_zlib_with_limit(section, BYTES_MAX)
        .map_err(|error| anyhow!("its section {SECTION} is not compressed as it should be: {error}"))?;
    let list: Value = serde_json::from_slice(&list).with_context(|| format!("its section {SECTION}"))?;
    let packages = list.get("packages").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let is_root = |package: &Value| {
        let is = |key: &str| package.get(key);
        is("root") == Some(&Value::Bool(true)) && is("name").and_then(Value::as_str) == Some(made_of)
    };
    ensure!(packages.iter().any(is_root), "its list of packages is not that of {made_of}");
    Ok(packages.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use miniz_oxide::deflate::compress_to_vec_zlib;

    #[test]
    fn a_binary_names_its_packages() {
        let list = r#"{"packages":[{"name":"a","version":"1.0.0","source":"crates.io"},
            {"name":"b","version":"0.1.0","source":"local","dependencies":[0],"root":true}]}"#;
        let binary = |list: &[u8]| elf::with_section(SECTION, list);
        let zip = |text: &str| compress_to_vec_zlib(text.as_bytes(), 6);
        assert_eq!(packages(&binary(&zip(list)), "b").unwrap(), 2);
        for (wrong, why) in [
            (binary(&zip(list)), "its list of packages is not that of a"),
            (binary(&zip("{}")), "its list of packages is not that of a"),
            (binary(&zip("{")), "its section .dep-v0"),
            (binary(list.as_bytes()), "its section .dep-v0 is not compressed"),
            (elf::with_section(".text", &zip(list)), "there is no section .dep-v0"),
            (Vec::new(), "there is no section .dep-v0"),
        ] {
            let said = packages(&wrong, "a").unwrap_err().to_string();
            assert!(said.starts_with(why), "{said}");
        }
    }

    #[test]
    fn where_it_is_installed_is_not_told_to_cargo() {
        let mut build = Command::new("cargo");
        ask(&mut build, Path::new("/somewhere/bin/cargo-auditable")).unwrap();
        for (name, value) in build.get_envs() {
            let value = value.unwrap().to_str().unwrap();
            assert_eq!(value.contains("/somewhere"), name == "PATH", "{name:?}: {value}");
            assert!(name != "PATH" || value.starts_with("/somewhere/bin:"), "{value}");
        }
        assert_eq!(build.get_envs().count(), 3);
    }
}
