//! The station: joins the network that the image names, and joins it again whenever the link is lost.
//! Called by `main`. Addresses and connections are the stack's and the application's.

use embassy_time::{Duration, Timer};
use esp_println::println;
use esp_radio::wifi::sta::StationConfig;
use esp_radio::wifi::{AuthenticationMethodConfig, Config, WifiController, WifiError};

/// They are in the image, readable by whoever has it.
const SSID: Option<&str> = option_env!("SENSOR_WIFI_SSID");
const PASSWORD: Option<&str> = option_env!("SENSOR_WIFI_PASSWORD");
/// Between attempts to join: doubled up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A network without a password is an open one.
pub(crate) fn configure(controller: &mut WifiController<'_>) -> Result<(), WifiError> {
    let authentication = match PASSWORD {
        Some(password) if !password.is_empty() => {
            AuthenticationMethodConfig::WpaWpa2Personal(password.try_into()?)
        }
        _ => AuthenticationMethodConfig::Open,
    };
    let station = StationConfig::default()
        .with_ssid(SSID.unwrap_or_default().try_into()?)
        .with_authentication(authentication);
    controller.set_config(&Config::Station(station))
}

/// Never ends.
pub(crate) async fn keep(controller: &mut WifiController<'_>) {
    let mut wait = FIRST_WAIT;
    loop {
        match controller.connect_async().await {
            Ok(joined) => {
                println!("wifi joined channel={}", joined.channel);
                wait = FIRST_WAIT;
                // An error says that it is lost already.
                let _why = controller.wait_for_disconnect_async().await;
                println!("wifi lost");
            }
            Err(error) => println!("wifi not joined: {error:?}"),
        }
        Timer::after(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}
