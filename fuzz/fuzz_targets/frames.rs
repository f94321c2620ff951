//! Any bytes as messages of a client or a server: lengths are checked before they are believed, bodies end where they
//! end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgsluice::wire::frame::{HEADER, client_limit, peek, server_limit};
use pgsluice::wire::{backend, frontend};

fuzz_target!(|data: &[u8]| {
    for limit in [client_limit as fn(u8) -> usize, server_limit] {
        let mut rest = data;
        while let Ok(Some(header)) = peek(rest, limit) {
            assert!(header.total >= HEADER);
            let Some(body) = rest.get(HEADER..header.total) else { break };
            let _ = frontend::query(body);
            let _ = frontend::parse(body);
            if let Some(bind) = frontend::bind(body) {
                let parameters = frontend::bind_parameters(bind.rest);
                assert!(parameters.is_none_or(|parameters| bind.rest.starts_with(parameters)));
                for number in 0..4 {
                    let _ = frontend::bind_value(bind.rest, number);
                }
            }
            let _ = frontend::target(body);
            let _ = backend::data_row(body).map(Iterator::count);
            let _ = backend::field(body, b'C');
            let _ = backend::parameter_status(body);
            let _ = backend::rows(body);
            rest = &rest[header.total..];
        }
    }
});
