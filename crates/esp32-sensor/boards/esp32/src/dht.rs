//! A DHT22 on one pin. The chip's RMT unit captures what the sensor says, so that nothing else has to be on time; what it
//! means is decoded by `sensor_core::pulses`. Called by the application. It never masks interrupts.

use core::fmt;

use embassy_time::{Duration, Timer, with_timeout};
use esp_hal::Async;
use esp_hal::gpio::{DriveMode, Flex, Level, OutputConfig, Pin, Pull};
use esp_hal::peripherals::RMT;
use esp_hal::rmt::{Channel, ConfigError, PulseCode, Rmt, Rx, RxChannelConfig, RxChannelCreator as _};
use esp_hal::time::Rate;
use sensor_core::pulses::{Pulse, PulseError, decode};
use sensor_core::{Reading, Sensor, SensorError};

/// The clock that all three chips have; divided, a tick is 1 µs.
const CLOCK_MHZ: u8 = 80;
/// A level that lasts this many ticks ends a capture: the longest of the sensor's own lasts 80.
const IDLE_TICKS: u16 = 200;
/// 84 pulses, two in a code, and the end; a chip's memory of one channel has 48 codes at least.
const CODES: usize = 48;
/// The board's start signal; the sensor takes 1 to 10 ms.
const START: Duration = Duration::from_micros(1_200);
/// A transmission takes 5 ms.
const TRANSMISSION_MAX: Duration = Duration::from_millis(50);

/// The sensor.
pub(crate) struct Dht22<'d> {
    wire: Flex<'d>,
    channel: Channel<'d, Async, Rx>,
}

impl<'d> Dht22<'d> {
    /// The wire needs a pull-up; the chip's own, which is on too, is weak.
    pub(crate) fn new(rmt: RMT<'d>, pin: impl Pin + 'd) -> Result<Self, SetupError> {
        let mut wire = Flex::new(pin);
        let open_drain = OutputConfig::default().with_drive_mode(DriveMode::OpenDrain).with_pull(Pull::Up);
        wire.apply_output_config(&open_drain);
        wire.set_high();
        wire.set_output_enable(true);
        let config = RxChannelConfig::default().with_clk_divider(CLOCK_MHZ).with_idle_threshold(IDLE_TICKS);
        let rmt = Rmt::new(rmt, Rate::from_mhz(u32::from(CLOCK_MHZ))).map_err(SetupError)?.into_async();
        // The first channel that receives on each of the chips.
        let channel = rmt.channel2.configure_rx(&config).map_err(SetupError)?;
        let channel = channel.with_pin(wire.peripheral_input());
        Ok(Self { wire, channel })
    }
}

/// The RMT unit cannot do what is asked of it.
pub(crate) struct SetupError(ConfigError);

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl Sensor for Dht22<'_> {
    // By its datasheet; read more often, it says the same again and warms up.
    const INTERVAL_MS_MIN: u32 = 2_000;

    async fn read(&mut self) -> Result<Reading, SensorError> {
        let mut codes = [PulseCode::default(); CODES];
        self.wire.set_low();
        Timer::after(START).await;
        // It listens before the wire is free, so that the first edge is the board's own.
        let capture = self.channel.receive(&mut codes);
        self.wire.set_high();
        let count = match with_timeout(TRANSMISSION_MAX, capture).await {
            Ok(Ok(count)) => count,
            Ok(Err(_)) => return Err(SensorError::Board),
            Err(_) => return Err(SensorError::Wire(PulseError::NoAnswer)),
        };
        decode(codes.iter().take(count).flat_map(pulses)).map_err(SensorError::Wire)
    }
}

/// The two halves of a code; one of length 0 is the end.
fn pulses(code: &PulseCode) -> impl Iterator<Item = Pulse> {
    let halves = [(code.level1(), code.length1()), (code.level2(), code.length2())];
    halves
        .into_iter()
        .take_while(|(_, ticks)| *ticks > 0)
        .map(|(level, ticks)| Pulse { high: level == Level::High, us: ticks })
}
