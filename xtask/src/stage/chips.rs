//! Stage `chips`: the sensor's images for the ESP32-C3 and ESP32-C6 build, link, are whole and fit; what an ESP32 needs resolves.
//! It says what it leaves out. Never runs an image: nothing here emulates a radio.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::sensor::{self, debian_cargo};
use crate::gate::Gate;
use crate::report::Outcome;
use crate::runner::Show;

/// A workspace by itself.
const FOLDER: &str = "crates/esp32-sensor/boards/esp32";
/// What would be baked into an image: not of whoever runs the tests.
const BAKED_IN: [&str; 3] = ["SENSOR_CONFIG", "SENSOR_WIFI_SSID", "SENSOR_WIFI_PASSWORD"];

/// A chip, the target that its code is built for, and what its image may take.
struct Chip {
    name: &'static str,
    target: &'static str,
    /// In KiB. The partition has 1,024.
    kib_max: u64,
}

const CHIPS: [Chip; 2] = [
    Chip { name: "esp32c3", target: "riscv32imc-unknown-none-elf", kib_max: 600 },
    Chip { name: "esp32c6", target: "riscv32imac-unknown-none-elf", kib_max: 680 },
];

/// Each chip in turn.
pub(crate) fn run(gate: &Gate) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    outcome.add(resolves(gate)?, "the dependencies for the ESP32 (Xtensa) do not resolve");
    sensor::licences(gate, FOLDER, &mut outcome)?;
    println!("left out everywhere: the ESP32's (Xtensa) own image, which takes Espressif's compiler");
    let esptool = esptool(gate);
    let no_esptool = (!esptool.is_file()).then(|| "esptool missing, see stage `setup`".to_owned());
    if let Some(missing) = sensor::missing(gate).or(no_esptool) {
        outcome.skipped.push(format!("no images for chips: {missing}"));
        return Ok(outcome);
    }
    for chip in &CHIPS {
        let built = build(gate, chip)?;
        outcome.add(built, &format!("the {}'s firmware does not build", chip.name));
        if built {
            check(gate, chip, &esptool, &mut outcome)?;
        }
    }
    Ok(outcome)
}

/// Whether one set of versions serves the chip that cannot be built for here too: what a wrong pin breaks first.
fn resolves(gate: &Gate) -> Result<bool> {
    let mut command = gate.runner.cargo("tree");
    command.args(["--locked", "--features", "esp32", "--target", "xtensa-esp32-none-elf", "--quiet"]);
    command.current_dir(gate.root.join(FOLDER));
    let mut radio = false;
    let status = gate.runner.run_with(command, |line| {
        radio |= line.contains("esp-wifi-sys-esp32 ");
        Show::No
    })?;
    Ok(status.success() && radio)
}

fn build(gate: &Gate, chip: &Chip) -> Result<bool> {
    let mut command = debian_cargo(gate, &gate.root.join(FOLDER), &target(gate));
    command.args(["--features", chip.name, "--target", chip.target]);
    for name in BAKED_IN {
        command.env_remove(name);
    }
    Ok(gate.runner.run(command)?.success())
}

/// Makes a flash image of it, has it looked at, and weighs it.
fn check(gate: &Gate, chip: &Chip, esptool: &Path, outcome: &mut Outcome) -> Result<()> {
    let name = chip.name;
    let firmware = target(gate).join(chip.target).join("release/sensor-esp32");
    let image = target(gate).join(format!("{name}.bin"));
    let mut command = gate.runner.command(esptool);
    command.args(["--chip", name, "elf2image", "--flash-mode", "dio", "--flash-size", "4MB", "-o"]);
    command.arg(&image).arg(&firmware);
    let made = gate.runner.run(command)?.success();
    outcome.add(made, &format!("esptool makes no image for the {name}"));
    if !made {
        return Ok(());
    }
    let mut command = gate.runner.command(esptool);
    command.args(["--chip", name, "image-info"]).arg(&image);
    let mut whole = Whole::default();
    let looked = gate.runner.run_with(command, |line| whole.line(line))?.success();
    outcome.add(looked && whole.is_whole(), &format!("the {name}'s image is not whole"));
    let kib = fs::metadata(&image).context("the image that esptool made")?.len().div_ceil(1024);
    println!("{name}: an image of {kib} KiB, of at most {}", chip.kib_max);
    outcome
        .add(kib <= chip.kib_max, &format!("the {name}'s image has {kib} KiB, of at most {}", chip.kib_max));
    Ok(())
}

/// What esptool says of an image: its two sums, and who it is.
#[derive(Default)]
struct Whole {
    checksum: bool,
    hash: bool,
    project: bool,
}

impl Whole {
    fn line(&mut self, line: &str) -> Show {
        let text = line.trim();
        self.checksum |= text.starts_with("Checksum:") && text.ends_with("(valid)");
        self.hash |= text.starts_with("Validation hash:") && text.ends_with("(valid)");
        self.project |= text.starts_with("Project name:") && text.ends_with("board-esp32");
        Show::No
    }

    fn is_whole(&self) -> bool {
        self.checksum && self.hash && self.project
    }
}

/// Apart from the emulated board's: its host part is large, and shared by the chips.
fn target(gate: &Gate) -> PathBuf {
    gate.target.join("sensor-esp32")
}

fn esptool(gate: &Gate) -> PathBuf {
    gate.tools().join("esptool/bin/esptool")
}

#[cfg(test)]
mod tests {
    use super::Whole;

    #[test]
    fn an_image_is_whole_when_both_sums_and_the_name_are_right() {
        let said = ["Checksum: 0x9c (valid)", "Validation hash: 0a1b (valid)", "Project name: board-esp32"];
        let judge = |lines: &[&str]| {
            let mut whole = Whole::default();
            lines.iter().for_each(|line| {
                whole.line(line);
            });
            whole.is_whole()
        };
        assert!(judge(&said));
        for left_out in 0..said.len() {
            let some: Vec<_> =
                said.iter().enumerate().filter(|(n, _)| *n != left_out).map(|(_, l)| *l).collect();
            assert!(!judge(&some));
        }
        assert!(!judge(&["Checksum: 0x9c (invalid - calculated 0x00)", said[1], said[2]]));
    }
}
