//! What the machine does from reset to the end: boot arguments, network, application.
//! Called by the start-up code. It never returns.

mod clock;
mod executor;
mod machine;
mod nic;

use core::fmt;
use core::panic::PanicInfo;

use embassy_futures::select::select;
use embassy_net::StackResources;
use embassy_time::Instant;
use net_embassy::{Buffers, Network};
use sensor_core::{Config, Event, Memory, Observer};
use sim_dht::SimulatedDht;

use machine::{Exit, print};
use nic::Nic;

/// DHCP, name look-ups, and the one connection.
const SOCKETS: usize = 3;
/// The configuration was wrong.
const EXIT_CONFIG: u16 = 2;
/// It panicked, or the machine is not as expected.
const EXIT_BROKEN: u16 = 3;

/// Each event is a line on the serial port.
struct Lines;

impl Observer for Lines {
    fn event(&self, event: Event<'_>) {
        line(format_args!("{event}"));
    }
}

fn line(text: fmt::Arguments<'_>) {
    print(format_args!("[{:>8} ms] {text}\n", Instant::now().as_millis()));
}

/// The device tree's address comes in the second argument register.
#[riscv_rt::entry]
fn main(_hart: usize, device_tree: usize) -> ! {
    clock::start();
    let Some(words) = machine::boot_arguments(device_tree) else {
        line(format_args!("there is no device tree with boot arguments"));
        machine::exit(Exit::Failure(EXIT_BROKEN));
    };
    let config = match Config::parse(words, "sensor-qemu-virt").and_then(Config::without_tls) {
        Ok(config) => config,
        Err(error) => {
            line(format_args!("boot arguments: {error}"));
            machine::exit(Exit::Failure(EXIT_CONFIG));
        }
    };
    line(format_args!("boot client_id={} broker={}", config.client_id, config.brokers.current()));
    let Some(nic) = Nic::find() else {
        line(format_args!("there is no virtio network device"));
        machine::exit(Exit::Failure(EXIT_BROKEN));
    };
    executor::block_on(device(&config, nic));
    machine::exit(Exit::Success)
}

/// The network stack and the application, side by side.
async fn device(config: &Config<'_>, nic: Nic) {
    let mut resources = StackResources::<SOCKETS>::new();
    let dhcp = embassy_net::Config::dhcpv4(embassy_net::DhcpConfig::default());
    // Ports of connections follow from it: no two devices begin with the same.
    let seed = Instant::now().as_ticks() ^ nic.address_number().rotate_left(16);
    let (stack, mut runner) = embassy_net::new(nic, dhcp, &mut resources, seed);
    let (mut buffers, mut memory) = (Buffers::new(), Memory::new());
    let network = Network::new(stack, &mut buffers);
    let application = sensor_core::run(config, SimulatedDht::new(), network, &Lines, &mut memory);
    select(runner.run(), application).await;
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    print(format_args!("{info}\n"));
    machine::exit(Exit::Failure(EXIT_BROKEN))
}
