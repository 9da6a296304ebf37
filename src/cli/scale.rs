//! `scale NAME=N`: so many replicas, by hand.

use super::args::{Global, Scale};
use super::call::{self, Call};
use super::progress::Progress;
use super::why::escaped;
use super::{Result, act, reach};
use crate::api::wire::{Acted, ScaleRequest};

pub fn scale(global: &Global, args: &Scale) -> Result<u8> {
    let (name, replicas) = &args.replicas;
    let request = ScaleRequest {
        replicas: *replicas,
        wait: !args.no_wait,
        wait_timeout_ms: args.wait_timeout.map(act::millis),
    };
    let acted: Acted = reach::converse(async {
        let Call { location, mut client } = Call::begin(global).await?;
        let mut progress = Progress::new(global, args.json);
        progress.about(vec![name.clone()]);
        let path = format!("/v1/services/{}/scale", escaped(name));
        call::wait(&location, client.post(&path, &request), &mut progress).await
    })?;
    act::tell(global, &acted, "scale", args.json)
}
