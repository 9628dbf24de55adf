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

/// What divides the flags of rustc in the environment, as paths may have blanks.
const BETWEEN_FLAGS: &str = "\x1f";

/// What the command line asks for.
#[derive(Default, Debug, PartialEq, Eq)]
struct Options {
    /// Builds everything once more, in another folder, and fails where that gives another binary.
    twice: bool,
    /// Builds for this one alone, and fails where its toolchain is not at hand.
    target: Option<String>,
    /// Packs this one, which is for this machine's kind, and builds nothing.
    binary: Option<PathBuf>,
}

/// Builds it and packs it.
pub(crate) fn main(arguments: &[String]) -> Result<bool> {
    let options = parse(arguments)?;
    let root = gate::root()?;
    let runner = Runner::new(&root, Instant::now() + Duration::from_secs(HOURS_MAX * 3_600))?;
    let dist = gate::target_folder(&root).join("dist");
    if dist.exists() {
        fs::remove_dir_all(&dist)?;
    }
    fs::create_dir_all(&dist)?;
    match &options.binary {
        Some(binary) => pack(&dist, binary, *TARGETS.first().context("there is a target")?)?,
        None => build_all(&runner, (&root, &dist), &options)?,
    }
    fs::write(dist.join("quelea.cdx.json"), sbom::of(&root)?)?;
    checksums(&dist)?;
    println!("{}", dist.display());
    Ok(true)
}

fn parse(arguments: &[String]) -> Result<Options> {
    let mut options = Options::default();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--twice" => options.twice = true,
            "--target" => options.target = Some(value()?.clone()),
            "--binary" => options.binary = Some(PathBuf::from(value()?)),
            other => bail!("dist takes `--twice`, `--target TARGET` and `--binary FILE`, not `{other}`"),
        }
    }
    let known = TARGETS.map(|(target, _)| target);
    if let Some(target) = &options.target {
        ensure!(known.contains(&target.as_str()), "`--target {target}` is none of {}", known.join(", "));
    }
    ensure!(
        options.binary.is_none() || (!options.twice && options.target.is_none()),
        "`--binary` builds nothing: it goes with no other option"
    );
    Ok(options)
}

/// Builds and packs it for everything that is asked for and whose toolchain is at hand.
fn build_all(runner: &Runner, (root, dist): (&Path, &Path), options: &Options) -> Result<()> {
    let folder = gate::target_folder(root);
    if runner.find("cargo-auditable").is_none() {
        println!("cargo-auditable is not installed: the binaries do not tell what they are made of");
    }
    let is_asked = |target: &str| options.target.as_deref().is_none_or(|asked| asked == target);
    for target in TARGETS.into_iter().filter(|(target, _)| is_asked(target)) {
        let is_native = TARGETS.first() == Some(&target);
        if !is_native && !has_toolchain(runner, target.0) {
            let why = format!(
                "{0}: its toolchain is not at hand: rustup target add {0}, and {1}",
                target.0,
                gcc(target.0)
            );
            ensure!(options.target.is_none(), "{why}");
            println!("{why}");
            continue;
        }
        let binary = build(runner, (root, &folder), target.0)?;
        if options.twice {
            let again = build(runner, (root, &folder.join("again")), target.0)?;
            ensure!(fs::read(&binary)? == fs::read(&again)?, "{}: another build is another binary", target.0);
            println!("{}: built twice, the same", target.0);
        }
        if is_native {
            let mut command = runner.command(&binary);
            command.arg("--version");
            ensure!(runner.run(command)?.success(), "{} does not run", binary.display());
        }
        pack(dist, &binary, target)?;
    }
    Ok(())
}

/// Whether rustup has the library, and the system a linker.
fn has_toolchain(runner: &Runner, target: &str) -> bool {
    let mut command = Command::new("rustc");
    command.args(["--print", "target-libdir", "--target", target]);
    let library = command.output().map(|done| String::from_utf8_lossy(&done.stdout).trim().to_owned());
    library.is_ok_and(|library| Path::new(&library).is_dir()) && runner.find(&gcc(target)).is_some()
}

/// A binary that needs no library of the system it runs on, built in this folder. It is the same wherever that is.
fn build(runner: &Runner, (root, folder): (&Path, &Path), target: &str) -> Result<PathBuf> {
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
    let (rust, c) = flags(&[(root, "quelea"), (folder, "target"), (&cargo_home(), "cargo")]);
    command.env("CARGO_ENCODED_RUSTFLAGS", rust).env("CFLAGS", c);
    // What C's compiler would take the time of day for.
    command.env("SOURCE_DATE_EPOCH", "0").env("CARGO_INCREMENTAL", "0").env("CARGO_TARGET_DIR", folder);
    if TARGETS.first().is_none_or(|native| native.0 != target) {
        let name = target.to_ascii_uppercase().replace('-', "_");
        command.env(format!("CARGO_TARGET_{name}_LINKER"), gcc(target));
    }
    let status = runner.run(command)?;
    ensure!(status.success(), "the broker does not build for {target}");
    Ok(folder.join(target).join("release/quelea"))
}

/// What the compilers of Rust and C are told: to link statically, and to call these folders by these names, the last one that fits.
fn flags(places: &[(&Path, &str)]) -> (String, String) {
    let mut rust = vec!["-Ctarget-feature=+crt-static".to_owned(), "-Cstrip=debuginfo".to_owned()];
    rust.extend(places.iter().map(|(path, name)| format!("--remap-path-prefix={}={name}", path.display())));
    let c = places.iter().map(|(path, name)| format!("-ffile-prefix-map={}={name}", path.display()));
    (rust.join(BETWEEN_FLAGS), c.collect::<Vec<_>>().join(" "))
}

/// Where cargo has the sources of other crates.
fn cargo_home() -> PathBuf {
    let home = || std::env::home_dir().unwrap_or_default().join(".cargo");
    std::env::var_os("CARGO_HOME").map_or_else(home, PathBuf::from)
}

/// What links for another kind of machine, as Debian calls it.
fn gcc(target: &str) -> String {
    format!("{}-gcc", target.replace("-unknown", ""))
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

    #[test]
    fn options_are_what_dist_knows() {
        let parse = |text: &str| parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(parse("").unwrap(), Options::default());
        let options = parse("--twice --target aarch64-unknown-linux-gnu").unwrap();
        assert_eq!((options.twice, options.target.as_deref()), (true, Some(TARGETS[1].0)));
        assert_eq!(parse("--binary quelea").unwrap().binary, Some(PathBuf::from("quelea")));
        for (wrong, why) in [
            ("--target riscv64", "`--target riscv64` is none of x86_64-unknown-linux-gnu, aarch64-"),
            ("--target", "--target needs a value"),
            ("--binary quelea --twice", "goes with no other option"),
            ("quelea", "not `quelea`"),
        ] {
            let said = parse(wrong).unwrap_err().to_string();
            assert!(said.contains(why), "{said}");
        }
    }

    #[test]
    fn a_build_is_told_to_name_no_folder_of_the_machine() {
        let places = [("/a/quelea", "quelea"), ("/t", "target")].map(|(path, name)| (Path::new(path), name));
        let (rust, c) = flags(&places);
        let rust: Vec<_> = rust.split(BETWEEN_FLAGS).collect();
        assert_eq!(rust[2..], ["--remap-path-prefix=/a/quelea=quelea", "--remap-path-prefix=/t=target"]);
        assert_eq!(c, "-ffile-prefix-map=/a/quelea=quelea -ffile-prefix-map=/t=target");
    }

    #[test]
    fn the_same_source_in_another_folder_is_the_same_binary() {
        let dir = std::env::temp_dir().join(format!("quelea-twice-{}", std::process::id()));
        let build = |name: &str| {
            let folder = dir.join(name);
            fs::create_dir_all(&folder).unwrap();
            let source = folder.join("main.rs");
            let text = "fn main() { assert!(std::env::args().count() < 2, \"{}\", file!()); }";
            fs::write(&source, text).unwrap();
            let (rust, _) = flags(&[(&folder, "quelea")]);
            let mut rustc = Command::new("rustc");
            rustc.args(rust.split(BETWEEN_FLAGS)).args(["--edition=2024", "-o"]);
            assert!(rustc.arg(folder.join("main")).arg(&source).status().unwrap().success());
            fs::read(folder.join("main")).unwrap()
        };
        let (one, other) = (build("one"), build("another"));
        assert!(is_static(&one));
        assert!(one == other, "they differ");
        let place = dir.to_str().unwrap().as_bytes();
        assert!(!one.windows(place.len()).any(|bytes| bytes == place), "it tells where it was built");
        fs::remove_dir_all(dir).unwrap();
    }

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
