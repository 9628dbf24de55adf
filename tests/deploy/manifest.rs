//! What a rendered chart says, read as Kubernetes reads it: objects, and pods with their containers, environment, volumes and
//! probes. It changes no value.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::container::{Image, USER, volume};
use crate::repository;

/// The objects of a rendered chart.
pub(crate) struct Release(Vec<Value>);

/// A probe by HTTP.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) path: String,
    pub(crate) port: u64,
    /// From one to the next.
    pub(crate) every: Duration,
    /// For an answer.
    pub(crate) within: Duration,
    /// How often it fails in a row before that counts.
    pub(crate) failures: u32,
}

/// A pod of the StatefulSet.
pub(crate) struct Pod {
    pub(crate) name: String,
    /// Containers that run before, in order.
    pub(crate) before: Vec<Image>,
    pub(crate) image: Image,
    /// Seconds from its deletion to SIGTERM.
    pub(crate) pre_stop_s: u64,
    pub(crate) readiness: Probe,
    pub(crate) liveness: Probe,
}

/// A Job that Helm runs and waits for.
pub(crate) struct Job {
    pub(crate) image: Image,
    /// How long it may run.
    pub(crate) within: Duration,
}

/// The documents of a YAML file.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error}"));
    all.into_iter().filter(|document| !document.is_null()).collect()
}

/// A list, empty where there is none.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A text that has to be there.
#[track_caller]
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

impl Release {
    /// A golden manifest.
    pub(crate) fn golden(name: &str) -> Self {
        let path = repository("tests/deploy/golden").join(name).with_extension("yaml");
        Self::read(&fs::read_to_string(path).unwrap())
    }

    /// What Helm has rendered.
    pub(crate) fn read(text: &str) -> Self {
        Self(documents(text))
    }

    /// Adds an object that is there before the release is.
    pub(crate) fn give(&mut self, object: Value) {
        self.0.push(object);
    }

    /// All objects.
    pub(crate) fn objects(&self) -> &[Value] {
        &self.0
    }

    /// All objects of a kind.
    pub(crate) fn of(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |object| object["kind"] == kind)
    }

    /// An object, by kind and name.
    #[track_caller]
    pub(crate) fn object(&self, kind: &str, name: &str) -> &Value {
        let mut found = self.of(kind).filter(|object| object["metadata"]["name"] == name);
        found.next().unwrap_or_else(|| panic!("no {kind} {name}"))
    }

    /// The StatefulSet, of which there is one.
    pub(crate) fn set(&self) -> &Value {
        self.of("StatefulSet").next().expect("there is one")
    }

    /// How many pods there are to be.
    pub(crate) fn replicas(&self) -> usize {
        self.set()["spec"]["replicas"].as_u64().expect("a number") as usize
    }

    /// The domain in which pods have their names: behind its own, in what a node tells the others.
    pub(crate) fn domain(&self) -> String {
        let main = &self.set()["spec"]["template"]["spec"]["containers"][0];
        let mut variables = list(&main["env"]).iter();
        let told = variables.find(|variable| variable["name"] == "QUELEA__CLUSTER__ADVERTISE");
        let told = text(&told.expect("it tells them")["value"]);
        let name = told.strip_prefix("$(QUELEA__NODE__NAME).").expect("its own name");
        name.rsplit_once(':').expect("a port").0.to_owned()
    }

    /// The name by which the others find a pod.
    pub(crate) fn dns_name(&self, pod: &str) -> String {
        format!("{pod}.{}", self.domain())
    }

    /// The Job that Helm runs before an upgrade, of which there is one.
    pub(crate) fn before_upgrade(&self, dir: &Path) -> Job {
        let is_before = |job: &&Value| {
            let hooks = text(&job["metadata"]["annotations"]["helm.sh/hook"]);
            hooks.split(',').any(|hook| hook == "pre-upgrade")
        };
        let job = self.of("Job").find(is_before).expect("there is one");
        let (name, spec) = (text(&job["metadata"]["name"]), &job["spec"]["template"]["spec"]);
        let image = Volumes { release: self, name: &name, dir }.image(spec, &spec["containers"][0]);
        let seconds = job["spec"]["activeDeadlineSeconds"].as_u64().expect("a number");
        Job { image, within: Duration::from_secs(seconds) }
    }

    /// The container of the pod that `helm test` starts.
    pub(crate) fn test(&self, dir: &Path) -> Image {
        let is_test = |pod: &&Value| pod["metadata"]["annotations"]["helm.sh/hook"] == "test";
        let pod = self.of("Pod").find(is_test).expect("there is one");
        let name = text(&pod["metadata"]["name"]);
        Volumes { release: self, name: &name, dir }.image(&pod["spec"], &pod["spec"]["containers"][0])
    }

    /// The pod with this number, with its volumes below `dir`: those that outlive it keep what is in them.
    pub(crate) fn pod(&self, number: usize, dir: &Path) -> Pod {
        let set = self.set();
        let name = format!("{}-{number}", text(&set["metadata"]["name"]));
        let spec = &set["spec"]["template"]["spec"];
        let volumes = Volumes { release: self, name: &name, dir };
        let image = |container: &Value| volumes.image(spec, container);
        let main = &spec["containers"][0];
        let probe = |kind: &str| {
            let get = &main[kind]["httpGet"];
            let ports = list(&main["ports"]);
            let port = ports.iter().find(|port| port["name"] == get["port"]).expect("a port of that name");
            let number = |value: &Value| value.as_u64().expect("a number");
            let seconds = |key: &str| Duration::from_secs(number(&main[kind][key]));
            Probe {
                path: text(&get["path"]),
                port: number(&port["containerPort"]),
                every: seconds("periodSeconds"),
                within: seconds("timeoutSeconds"),
                failures: number(&main[kind]["failureThreshold"]) as u32,
            }
        };
        Pod {
            before: list(&spec["initContainers"]).iter().map(image).collect(),
            image: image(main),
            pre_stop_s: main["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap_or(0),
            readiness: probe("readinessProbe"),
            liveness: probe("livenessProbe"),
            name,
        }
    }
}

/// The volumes of a pod, as folders.
struct Volumes<'r> {
    release: &'r Release,
    name: &'r str,
    dir: &'r Path,
}

impl Volumes<'_> {
    fn image(&self, spec: &Value, container: &Value) -> Image {
        let words = |key: &str| list(&container[key]).iter().map(text).collect::<Vec<_>>();
        let mounts = list(&container["volumeMounts"]).iter().map(|mount| {
            let writable = mount["readOnly"] != true;
            (self.folder(spec, &text(&mount["name"])), text(&mount["mountPath"]), writable)
        });
        let user = spec["securityContext"]["runAsUser"].as_u64().expect("who it is") as u32;
        assert_eq!(user, USER, "the user that the image's folders belong to");
        Image {
            command: [words("command"), words("args")].concat(),
            env: self.environment(container),
            mounts: mounts.collect(),
            user: Some(user),
        }
    }

    /// The environment, in which a value may speak of those before it.
    fn environment(&self, container: &Value) -> Vec<(String, String)> {
        let mut env: Vec<(String, String)> = Vec::new();
        for variable in list(&container["env"]) {
            let from = &variable["valueFrom"];
            let secret = from["secretKeyRef"]["name"].as_str();
            let mut value = match (from["fieldRef"]["fieldPath"].as_str(), secret) {
                (Some("metadata.name"), _) => self.name.to_owned(),
                (Some(other), _) => panic!("{other} is not known here"),
                (None, Some(secret)) => {
                    let object = self.release.object("Secret", secret);
                    text(&object["stringData"][text(&from["secretKeyRef"]["key"])])
                }
                (None, None) => text(&variable["value"]),
            };
            for (name, known) in &env {
                value = value.replace(&format!("$({name})"), known);
            }
            env.push((text(&variable["name"]), value));
        }
        env
    }

    /// Where a volume is: what is in it is written each time, but for what the pod wrote itself.
    fn folder(&self, spec: &Value, name: &str) -> PathBuf {
        let volumes = list(&spec["volumes"]);
        let Some(found) = volumes.iter().find(|volume| volume["name"] == name) else {
            let claims = list(&self.release.set()["spec"]["volumeClaimTemplates"]);
            assert!(claims.iter().any(|claim| claim["metadata"]["name"] == name), "no volume {name}");
            return volume(self.dir.join(format!("{name}-{}", self.name)));
        };
        let folder = self.dir.join(format!("{}-{name}", self.name));
        if found.get("emptyDir").is_some() {
            return volume(folder);
        }
        let config = found["configMap"]["name"].as_str();
        let secret = found["secret"]["secretName"].as_str();
        let content = match (config, secret) {
            (Some(config), _) => &self.release.object("ConfigMap", config)["data"],
            (_, Some(secret)) => &self.release.object("Secret", secret)["stringData"],
            _ => panic!("a volume of another kind: {found}"),
        };
        fs::create_dir_all(&folder).unwrap();
        for (key, value) in content.as_object().expect("keys and values") {
            fs::write(folder.join(key), text(value)).unwrap();
        }
        folder
    }
}
