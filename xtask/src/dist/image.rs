//! The container image: as an OCI layout, and as the folder that `deploy/Dockerfile` is built in. Both have the same files. Called
//! by `dist`; it needs no container engine and no other image.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::archive::{self, Entry};
use super::hex;

/// Whose rights the process has.
const USER: u32 = 65_532;
/// The folders that it writes to, or that volumes are put over; these belong to it.
const OWN: [&str; 6] = ["etc", "etc/quelea", "etc/quelea/auth", "var", "var/lib", "var/lib/quelea"];
/// Those that do not.
const FOLDERS: [&str; 2] = ["usr", "usr/bin"];
/// Where the binary is.
const BINARY: &str = "usr/bin/quelea";

/// The folder that the Dockerfile copies from.
pub(super) fn context(folder: &Path, binary: &[u8]) -> Result<()> {
    let place = folder.join(BINARY);
    fs::create_dir_all(place.parent().context("it is in a folder")?)?;
    fs::write(&place, binary)?;
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755))?;
    for own in OWN {
        fs::create_dir_all(folder.join(own))?;
    }
    // Whatever the umask is here, the image's user may look into them.
    for path in FOLDERS.iter().chain(&OWN) {
        fs::set_permissions(folder.join(path), fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// An image in OCI's layout (image-spec 1.0), which `skopeo`, `podman` and `crane` read: one layer, one platform.
pub(super) fn layout(folder: &Path, binary: &[u8], architecture: &str) -> Result<()> {
    let folders = FOLDERS.map(|path| Entry { path, owner: 0, content: None });
    let own = OWN.map(|path| Entry { path, owner: USER, content: None });
    let program = Entry { path: BINARY, owner: 0, content: Some(binary) };
    let entries: Vec<_> = folders.into_iter().chain([program]).chain(own).collect();
    let layer = archive::write(&entries)?;
    let configuration = configuration(architecture, &format!("sha256:{}", hex(&layer)));
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let put = |bytes: &[u8], kind: &str| -> Result<Value> {
        let digest = hex(bytes);
        fs::write(blobs.join(&digest), bytes)?;
        let kind = format!("application/vnd.oci.image.{kind}");
        Ok(json!({ "mediaType": kind, "digest": format!("sha256:{digest}"), "size": bytes.len() }))
    };
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": put(configuration.to_string().as_bytes(), "config.v1+json")?,
        "layers": [put(&layer, "layer.v1.tar")?],
    });
    let mut entry = put(manifest.to_string().as_bytes(), "manifest.v1+json")?;
    if let Some(entry) = entry.as_object_mut() {
        entry.insert("platform".to_owned(), json!({ "os": "linux", "architecture": architecture }));
        let name = json!({ "org.opencontainers.image.ref.name": env!("CARGO_PKG_VERSION") });
        entry.insert("annotations".to_owned(), name);
    }
    let index = json!({ "schemaVersion": 2, "manifests": [entry] });
    fs::write(folder.join("index.json"), index.to_string())?;
    fs::write(folder.join("oci-layout"), json!({ "imageLayoutVersion": "1.0.0" }).to_string())?;
    Ok(())
}

/// What `deploy/Dockerfile` says of the image.
fn configuration(architecture: &str, layer: &str) -> Value {
    let ports = [1883, 8883, 8083, 8084, 7883, 8080].map(|port| (format!("{port}/tcp"), json!({})));
    json!({
        "architecture": architecture,
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "User": format!("{USER}:{USER}"),
            "Env": ["PATH=/usr/bin"],
            "Entrypoint": ["/usr/bin/quelea"],
            "Cmd": ["run", "--data-dir", "/var/lib/quelea"],
            "Volumes": { "/var/lib/quelea": {} },
            "ExposedPorts": ports.into_iter().collect::<serde_json::Map<_, _>>(),
            "Labels": {
                "org.opencontainers.image.title": "quelea",
                "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
                "org.opencontainers.image.licenses": env!("CARGO_PKG_LICENSE"),
            },
        },
        "rootfs": { "type": "layers", "diff_ids": [layer] },
        "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "cargo xtask dist" }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(folder: &Path, descriptor: &Value) -> Vec<u8> {
        let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let bytes = fs::read(folder.join("blobs/sha256").join(digest)).unwrap();
        assert_eq!(hex(&bytes), digest);
        assert_eq!(descriptor["size"], bytes.len());
        bytes
    }

    #[test]
    fn a_layout_names_what_is_in_it_and_is_the_same_each_time() {
        let dir = std::env::temp_dir().join(format!("quelea-image-{}", std::process::id()));
        let [one, other] = ["one", "other"].map(|name| {
            let folder = dir.join(name);
            layout(&folder, b"a program", "amd64").unwrap();
            fs::read_to_string(folder.join("index.json")).unwrap()
        });
        assert_eq!(one, other);
        let folder = dir.join("one");
        let parse = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        let index = parse(one.as_bytes());
        let manifest = parse(&read(&folder, &index["manifests"][0]));
        let configuration = parse(&read(&folder, &manifest["config"]));
        let layer = read(&folder, &manifest["layers"][0]);
        assert_eq!(configuration["rootfs"]["diff_ids"][0], format!("sha256:{}", hex(&layer)));
        assert!(layer.windows(9).any(|bytes| bytes == b"a program"));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn the_dockerfile_says_the_same_of_the_image() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let text = fs::read_to_string(root.join("deploy/Dockerfile")).unwrap();
        let line = |key: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(key).map(str::trim));
            found.unwrap_or_else(|| panic!("no {key}")).to_owned()
        };
        let config = configuration("amd64", "sha256:0")["config"].clone();
        assert_eq!(line("USER"), config["User"]);
        assert_eq!(line("ENV"), config["Env"][0]);
        assert_eq!(serde_json::from_str::<Value>(&line("ENTRYPOINT")).unwrap(), config["Entrypoint"]);
        assert_eq!(serde_json::from_str::<Value>(&line("CMD")).unwrap(), config["Cmd"]);
        assert!(config["Volumes"].get(line("VOLUME")).is_some());
        for port in line("EXPOSE").split(' ') {
            assert!(config["ExposedPorts"].get(format!("{port}/tcp")).is_some(), "{port}");
        }
    }
}
