//! Has the linker use the vendor's memory map, and has the image built anew when what is baked into it changes.
//! Called by cargo. It never reads what is baked in: it may be a secret.

fn main() {
    println!("cargo:rustc-link-arg-bins=-Tlinkall.x");
    if std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "xtensa") {
        // That target links by way of GCC.
        println!("cargo:rustc-link-arg-bins=-nostartfiles");
    }
    for name in ["SENSOR_CONFIG", "SENSOR_WIFI_SSID", "SENSOR_WIFI_PASSWORD"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
}
