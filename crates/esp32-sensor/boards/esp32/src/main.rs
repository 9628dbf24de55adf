//! The device on an ESP32-C3, ESP32-C6 or ESP32: WiFi, a DHT22 on GPIO 4, and events on the serial console.
//! Called by the vendor's start-up code. What it is to do comes from the environment of the build, and is in the image then:
//! `SENSOR_WIFI_SSID`, `SENSOR_WIFI_PASSWORD`, `SENSOR_CONFIG`.
#![no_std]
#![no_main]

#[cfg(not(any(
    all(feature = "esp32c3", not(feature = "esp32c6"), not(feature = "esp32")),
    all(feature = "esp32c6", not(feature = "esp32c3"), not(feature = "esp32")),
    all(feature = "esp32", not(feature = "esp32c3"), not(feature = "esp32c6")),
)))]
compile_error!("one of the features esp32c3, esp32c6 and esp32 names the chip");

mod dht;
mod wifi;

use core::fmt::Write as _;
use core::hint::black_box;

use embassy_executor::Spawner;
use embassy_futures::select::select3;
use embassy_net::StackResources;
use embassy_time::{Duration, Instant, Timer};
use esp_backtrace as _;
use esp_hal::clock::CpuClock;
use esp_hal::efuse::{self, InterfaceMacAddress};
use esp_hal::ram;
use esp_hal::rng::Rng;
use esp_hal::timer::timg::TimerGroup;
use esp_println::println;
use esp_radio::wifi::{Interface, WifiController};
use net_embassy::{Buffers, Network};
use sensor_core::{Config, Event, Memory, Observer};

use dht::Dht22;

esp_bootloader_esp_idf::esp_app_desc!();

/// What the device is to do; the same words as other boards take at start.
const CONFIG: Option<&str> = option_env!("SENSOR_CONFIG");
/// DHCP, name look-ups, and the one connection.
const SOCKETS: usize = 3;

/// Each event is a line on the console.
struct Lines;

impl Observer for Lines {
    fn event(&self, event: Event<'_>) {
        println!("[{:>8} ms] {event}", Instant::now().as_millis());
    }
}

#[esp_rtos::main]
async fn main(_spawner: Spawner) -> ! {
    let chip = esp_hal::init(esp_hal::Config::default().with_cpu_clock(CpuClock::max()));
    // Memory of the boot loader, which is through, and some more: the radio takes about 57 KiB in all.
    esp_alloc::heap_allocator!(#[ram(reclaimed)] size: 64 * 1024);
    esp_alloc::heap_allocator!(size: 36 * 1024);
    esp_rtos::start(TimerGroup::new(chip.TIMG0).timer0, chip.FROM_CPU_INTR0);

    let name = name();
    // Opaque to the compiler: an image that is told nothing is to be the same program, for whoever weighs it.
    let config = Config::parse(black_box(CONFIG.unwrap_or_default()), &name);
    let config = match config.and_then(Config::without_tls) {
        Ok(config) => config,
        Err(error) => stop("SENSOR_CONFIG", &error).await,
    };
    let sensor = match Dht22::new(chip.RMT, chip.GPIO4) {
        Ok(sensor) => sensor,
        Err(error) => stop("the DHT22's pin", &error).await,
    };
    let mut controller = match WifiController::new(chip.WIFI, Default::default()) {
        Ok(controller) => controller,
        Err(error) => stop("the radio", &error).await,
    };
    if let Err(error) = wifi::configure(&mut controller) {
        stop("SENSOR_WIFI_SSID or SENSOR_WIFI_PASSWORD", &error).await;
    }
    println!("boot client_id={} broker={}", config.client_id, config.brokers.current());

    let mut resources = StackResources::<SOCKETS>::new();
    let dhcp = embassy_net::Config::dhcpv4(embassy_net::DhcpConfig::default());
    let rng = Rng::new();
    let seed = u64::from(rng.random()) << 32 | u64::from(rng.random());
    let (stack, mut runner) = embassy_net::new(Interface::station(), dhcp, &mut resources, seed);
    let (mut buffers, mut memory) = (Buffers::new(), Memory::new());
    let network = Network::new(stack, &mut buffers);
    let application = sensor_core::run(&config, sensor, network, &Lines, &mut memory);
    select3(runner.run(), wifi::keep(&mut controller), application).await;
    sleep().await
}

/// `esp32-` and the last three bytes of the station's address: different on every chip.
fn name() -> heapless::String<16> {
    let mut name = heapless::String::new();
    let mac = efuse::interface_mac_address(InterfaceMacAddress::Station);
    let [.., a, b, c] = mac.as_bytes() else { return name };
    // Twelve characters fit.
    let _always_ok = write!(name, "esp32-{a:02x}{b:02x}{c:02x}");
    name
}

/// Says what is wrong, again and again for whoever connects a console later.
async fn stop(what: &str, error: &dyn core::fmt::Display) -> ! {
    loop {
        println!("{what}: {error}");
        Timer::after(Duration::from_secs(10)).await;
    }
}

/// The device has done as many readings as it was told.
async fn sleep() -> ! {
    loop {
        Timer::after(Duration::from_secs(3_600)).await;
    }
}
