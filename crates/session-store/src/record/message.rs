//! Application messages and wills as they are written. Called by the records that carry them.
//! A large payload keeps the buffer that it was read from; a small one is copied out of it.

use std::sync::Arc;

use bytes::Bytes;
use mqtt_codec::{ApplicationProperties, Limits, QoS, SharedPublish, Text};

use super::{Record, RecordError, wire};
use crate::command::Will;
use crate::ids::Millis;
use crate::message::{Message, MessageRef};

impl Record for MessageRef {
    type Wire = wire::Message;

    fn to_wire(&self) -> wire::Message {
        wire::Message {
            topic: self.body.topic_text().into_bytes(),
            application: self.body.application_bytes(),
            payload: self.body.payload_bytes(),
            qos: self.qos.to_wire(),
            retain: self.retain,
            expires_at_ms: self.expires_at.map(|at| at.0),
        }
    }

    fn from_wire(wire: wire::Message) -> Result<Self, RecordError> {
        Ok(Arc::new(Message {
            body: body(wire.topic, &wire.application, &wire.payload)?,
            qos: QoS::from_wire(wire.qos)?,
            retain: wire.retain,
            expires_at: wire.expires_at_ms.map(Millis),
        }))
    }
}

impl Record for Will {
    type Wire = wire::Will;

    fn to_wire(&self) -> wire::Will {
        wire::Will {
            topic: self.body.topic_text().into_bytes(),
            application: self.body.application_bytes(),
            payload: self.body.payload_bytes(),
            qos: self.qos.to_wire(),
            retain: self.retain,
            delay_s: self.delay_s,
            expiry_s: self.expiry_s,
        }
    }

    fn from_wire(wire: wire::Will) -> Result<Self, RecordError> {
        Ok(Self {
            body: body(wire.topic, &wire.application, &wire.payload)?,
            qos: QoS::from_wire(wire.qos)?,
            retain: wire.retain,
            delay_s: wire.delay_s,
            expiry_s: wire.expiry_s,
        })
    }
}

fn body(topic: Bytes, application: &Bytes, payload: &Bytes) -> Result<SharedPublish, RecordError> {
    let topic = Text::try_from(topic).map_err(|_| RecordError::Invalid { field: "topic" })?;
    if !application.is_empty() {
        let checked = ApplicationProperties::check(application, &Limits::NONE);
        checked.map_err(|_| RecordError::Invalid { field: "application" })?;
    }
    Ok(SharedPublish::new(&topic, application, payload))
}
