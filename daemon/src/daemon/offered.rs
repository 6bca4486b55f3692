//! What a daemon would offer, without one.

use crate::{
    blobs::BlobService,
    control::ControlService,
    service::{MethodError, Methods, Router},
    setup::Services,
    system::System,
};

/// A router of the daemon's own methods and of these services, none of which is started: it can be
/// described, and every call is an error.
///
/// # Errors
/// Services that cannot be linked together.
pub(crate) fn offered(services: Services) -> Result<Router, MethodError> {
    let mut router = Router::new();
    router.add_all(Methods::<System>::described())?;
    router.add_all(Methods::<BlobService>::described())?;
    router.add_all(Methods::<ControlService>::described())?;
    services.describe(&mut router)?;
    Ok(router)
}
