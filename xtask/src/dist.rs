//! `cargo xtask dist`: what a release consists of: a static binary, an image of it in OCI's layout, a list of what is in it, and
//! checksums, all below `target/dist`. Called by `main`. It uploads nothing and needs no container engine.

mod again;
mod archive;
mod audit;
#[cfg(test)]
mod buildah;
mod elf;
mod image;
mod sbom;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ring::digest::{Digest, SHA256, digest};

use self::again::Copy;
use crate::gate;
use crate::runner::Runner;

/// What it is built for, and what a container calls that; the second only where rustup has it.
const TARGETS: [(&str, &str); 2] =
    [("x86_64-unknown-linux-gnu", "amd64"), ("aarch64-unknown-linux-gnu", "arm64")];
/// A run that takes longer is ended.
const HOURS_MAX: u64 = 3;

/// What divides the flags of rustc in the environment, as paths may have blanks.
const BETWEEN_FLAGS: &str = "\x1f";

/// The package whose binary is released.
const PACKAGE: &str = "broker-node";

/// What the command line asks for.
#[derive(Default, Debug, PartialEq, Eq)]
struct Options {
    /// Builds everything once more, from a copy of the sources and in another folder, and fails where that gives another binary.
    twice: bool,
    /// Builds binaries that do not tell what they are made of, where cargo-auditable cannot be installed.
    no_audit: bool,
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
        Some(binary) => {
            let native = TARGETS.into_iter().find(|(target, _)| is_native(target));
            let native = native.context("there are no releases for this kind of machine")?;
            if let Err(why) = says_packages(binary, native.0) {
                println!("{why:#}");
            }
            pack((&root, &dist), binary, native)?;
        }
        None => build_all(&runner, (&root, &dist), &options)?,
    }
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
            "--no-audit" => options.no_audit = true,
            "--target" => options.target = Some(value()?.clone()),
            "--binary" => options.binary = Some(PathBuf::from(value()?)),
            other => {
                bail!(
                    "dist takes `--twice`, `--no-audit`, `--target TARGET` and `--binary FILE`, not `{other}`"
                )
            }
        }
    }
    let known = TARGETS.map(|(target, _)| target);
    if let Some(target) = &options.target {
        ensure!(known.contains(&target.as_str()), "`--target {target}` is none of {}", known.join(", "));
    }
    ensure!(
        options.binary.is_none() || (!options.twice && !options.no_audit && options.target.is_none()),
        "`--binary` builds nothing: it goes with no other option"
    );
    Ok(options)
}

/// Builds and packs it for everything that is asked for and whose toolchain is at hand.
fn build_all(runner: &Runner, (root, dist): (&Path, &Path), options: &Options) -> Result<()> {
    let folder = gate::target_folder(root);
    let is_asked = |target: &str| options.target.as_deref().is_none_or(|asked| asked == target);
    let mut ready = Vec::new();
    for target in TARGETS.into_iter().filter(|(target, _)| is_asked(target)) {
        match missing(runner, target.0) {
            None => ready.push(target),
            Some(why) if options.target.is_some() => bail!("{}: {why}", target.0),
            Some(why) => println!("{} is left out: {why}", target.0),
        }
    }
    let auditable = (!options.no_audit).then(|| audit::program(runner, &folder)).transpose()?;
    let copy = || Copy::new(runner, root, &folder.join("again"), auditable.as_deref());
    let copy = options.twice.then(copy).transpose()?;
    for target in ready {
        let binary = build(runner, (root, &folder), target.0, auditable.as_deref())?;
        if let Some(copy) = &copy {
            let again = build(runner, (&copy.sources, &copy.target), target.0, copy.auditable.as_deref())?;
            ensure!(fs::read(&binary)? == fs::read(&again)?, "{}: another build is another binary", target.0);
            println!("{}: built twice, the same", target.0);
        }
        start(runner, &binary, target.0)?;
        pack((root, dist), &binary, target)?;
    }
    Ok(())
}

/// Starts it, in an emulator where it is for another kind of machine: it says its version.
fn start(runner: &Runner, binary: &Path, target: &str) -> Result<()> {
    let mut command = runner.command(binary);
    if !is_native(target) {
        let machine = target.split('-').next().unwrap_or_default();
        let emulator = format!("qemu-{machine}-static");
        let Some(emulator) = runner.find(&emulator) else {
            println!(
                "{target}: not started, as there is no {emulator}: it comes with Debian's qemu-user-static"
            );
            return Ok(());
        };
        command = runner.command(emulator);
        command.arg(binary);
    }
    command.arg("--version");
    ensure!(runner.run(command)?.success(), "{} does not run", binary.display());
    Ok(())
}

/// Whether this machine runs what is built for that one.
fn is_native(target: &str) -> bool {
    target.split('-').next() == Some(std::env::consts::ARCH)
}

/// What a build for this target would need and does not find, and where it comes from.
fn missing(runner: &Runner, target: &str) -> Option<String> {
    let mut command = Command::new("rustc");
    command.args(["--print", "target-libdir", "--target", target]);
    let library = command.output().map(|done| String::from_utf8_lossy(&done.stdout).trim().to_owned());
    if !library.is_ok_and(|library| Path::new(&library).is_dir()) {
        return Some(format!("Rust's library for it is not there: rustup target add {target}"));
    }
    let gcc = gcc(target);
    let has_linker = is_native(target) || runner.find(&gcc).is_some();
    let package = || format!("gcc-{}", gcc.trim_end_matches("-gcc").replace('_', "-"));
    (!has_linker).then(|| format!("there is no {gcc} to link with: it comes with Debian's {}", package()))
}

/// A binary that needs no library of the system it runs on, built in this folder. It is the same wherever that is.
fn build(
    runner: &Runner,
    (root, folder): (&Path, &Path),
    target: &str,
    auditable: Option<&Path>,
) -> Result<PathBuf> {
    let mut command = runner.cargo("build");
    command.args(["--release", "--locked", "--package", PACKAGE, "--bin", "quelea", "--target", target]);
    let (rust, c) = flags(&[(root, "quelea"), (folder, "target"), (&cargo_home(), "cargo")]);
    command.env("CARGO_ENCODED_RUSTFLAGS", rust).env("CFLAGS", c).current_dir(root);
    // What C's compiler would take the time of day for.
    command.env("SOURCE_DATE_EPOCH", "0").env("CARGO_INCREMENTAL", "0").env("CARGO_TARGET_DIR", folder);
    if !is_native(target) {
        let name = target.to_ascii_uppercase().replace('-', "_");
        command.env(format!("CARGO_TARGET_{name}_LINKER"), gcc(target));
    }
    if let Some(auditable) = auditable {
        audit::ask(&mut command, auditable)?;
    }
    let status = runner.run(command)?;
    ensure!(status.success(), "the broker does not build for {target}");
    let binary = folder.join(target).join("release/quelea");
    if auditable.is_some() {
        says_packages(&binary, target)?;
    }
    Ok(binary)
}

/// Reads what a binary says that it is made of, and prints how much that is.
fn says_packages(binary: &Path, target: &str) -> Result<()> {
    let bytes = fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
    let count = audit::packages(&bytes, PACKAGE)
        .with_context(|| format!("{} does not tell what it is made of", binary.display()))?;
    println!("{target}: it names {count} packages, those of its build among them");
    Ok(())
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

/// Puts the binary, what it is made of and an image of it into place.
fn pack((root, dist): (&Path, &Path), binary: &Path, (target, architecture): (&str, &str)) -> Result<()> {
    let bytes = fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
    ensure!(
        elf::is_static(&bytes),
        "{} is not static: it would need a loader in its image",
        binary.display()
    );
    let name = format!("quelea-{}-{target}", env!("CARGO_PKG_VERSION"));
    let place = dist.join(&name);
    fs::write(&place, &bytes)?;
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755))?;
    fs::write(dist.join(format!("{name}.cdx.json")), sbom::of(root, target)?)?;
    image::context(&dist.join(if architecture == "amd64" { "image" } else { "image-arm64" }), &bytes)?;
    image::layout(&dist.join(format!("{name}.oci")), &bytes, architecture)
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
        assert!(!options.no_audit && parse("--no-audit").unwrap().no_audit);
        assert_eq!(parse("--binary quelea").unwrap().binary, Some(PathBuf::from("quelea")));
        for (wrong, why) in [
            ("--target riscv64", "`--target riscv64` is none of x86_64-unknown-linux-gnu, aarch64-"),
            ("--target", "--target needs a value"),
            ("--binary quelea --twice", "goes with no other option"),
            ("--no-audit --binary quelea", "goes with no other option"),
            ("quelea", "not `quelea`"),
        ] {
            let said = parse(wrong).unwrap_err().to_string();
            assert!(said.contains(why), "{said}");
        }
    }

    #[test]
    fn what_a_build_needs_and_does_not_find_is_said() {
        let runner = Runner::new(Path::new("/"), Instant::now() + Duration::from_secs(600)).unwrap();
        let native = TARGETS.iter().find(|(target, _)| is_native(target)).unwrap();
        assert_eq!(missing(&runner, native.0), None);
        let said = missing(&runner, "no-such-machine").unwrap();
        assert!(said.ends_with("rustup target add no-such-machine"), "{said}");
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
        assert!(elf::is_static(&one));
        assert!(one == other, "they differ");
        let place = dir.to_str().unwrap().as_bytes();
        assert!(!one.windows(place.len()).any(|bytes| bytes == place), "it tells where it was built");
        fs::remove_dir_all(dir).unwrap();
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
