//! Our answers to what a server asks during login: a password, an md5 response, SCRAM with or without channel binding.

use super::key::LoginKey;
use super::login::{ConnectError, Login};
use crate::config::{ChannelBinding, Host};
use crate::wire::auth_message::Authentication;
use crate::wire::scram::{self, ClientExchange, Expected};
use crate::wire::startup;

/// How far a SCRAM exchange is.
pub(super) enum Scram {
    NotAsked,
    /// client-first is sent.
    First(ClientExchange),
    /// client-final is sent.
    Last(Expected),
    /// The server has proved itself.
    Done,
}

impl Login<'_> {
    pub(super) async fn answer(
        &mut self,
        question: Authentication<'_>,
        user: &str,
        key: &LoginKey,
        scram: Scram,
    ) -> Result<Scram, ConnectError> {
        let mut out = Vec::new();
        let next = match (question, scram) {
            (Authentication::Md5Password(salt), Scram::NotAsked) => {
                let response = match key {
                    LoginKey::Md5(hash) => hash.response(salt),
                    LoginKey::Password(password) => {
                        crate::wire::md5::Md5Hash::of(password.bytes(), user).response(salt)
                    }
                    LoginKey::Scram(_) => {
                        return Err(self.no_key("the server wants md5, a SCRAM key is known"));
                    }
                    LoginKey::None => return Err(self.no_key("the server wants a password, none is known")),
                };
                startup::password_message(&mut out, &response);
                Scram::NotAsked
            }
            (Authentication::CleartextPassword, Scram::NotAsked) => {
                let LoginKey::Password(password) = key else {
                    return Err(self.no_key("the server wants a password in the clear, only a key is known"));
                };
                if !self.stream.is_tls() && !matches!(self.target.host, Host::Unix(..)) {
                    return Err(self.no_key("the server wants a password in the clear, without TLS"));
                }
                startup::password_message(&mut out, password.bytes());
                Scram::NotAsked
            }
            (Authentication::Sasl(mechanisms), Scram::NotAsked) => {
                match key {
                    LoginKey::Scram(_) | LoginKey::Password(_) => {}
                    LoginKey::Md5(_) => {
                        return Err(self.no_key("the server wants SCRAM, an md5 hash is known"));
                    }
                    LoginKey::None => return Err(self.no_key("the server wants a password, none is known")),
                }
                let exchange = self.client_first(&mechanisms, &mut out)?;
                Scram::First(exchange)
            }
            (Authentication::SaslContinue(data), Scram::First(exchange)) => {
                let (last, expected) = self.client_final(&exchange, data, key).await?;
                startup::sasl_response(&mut out, last.as_bytes());
                Scram::Last(expected)
            }
            (Authentication::SaslFinal(data), Scram::Last(expected)) => {
                expected.verify(data).map_err(|error| self.scram(error))?;
                return Ok(Scram::Done);
            }
            (Authentication::Unsupported(_), _) => {
                return Err(
                    self.no_key("the server wants Kerberos, GSSAPI, SSPI or another method not supported")
                );
            }
            _ => return Err(self.protocol("authentication messages out of order".to_owned())),
        };
        self.send(&out).await?;
        Ok(next)
    }

    /// `channel_binding=require`: whatever proves us without it is refused before anything secret is sent.
    pub(super) fn bound_enough(
        &self,
        question: &Authentication<'_>,
        scram: &Scram,
    ) -> Result<(), ConnectError> {
        let asked_otherwise = match question {
            Authentication::Ok => matches!(scram, Scram::NotAsked),
            Authentication::Md5Password(_) | Authentication::CleartextPassword => true,
            _ => false,
        };
        if asked_otherwise && self.target.tls.channel_binding() == ChannelBinding::Require {
            let problem = "channel_binding=require, but the server authenticates without it";
            return Err(self.protocol(problem.to_owned()));
        }
        Ok(())
    }

    /// Chooses a mechanism: with channel binding wherever both sides can.
    fn client_first(&self, mechanisms: &[&[u8]], out: &mut Vec<u8>) -> Result<ClientExchange, ConnectError> {
        let offered = |mechanism: &str| mechanisms.contains(&mechanism.as_bytes());
        let wanted = self.target.tls.channel_binding();
        let data = self.binding.as_deref().filter(|_| wanted != ChannelBinding::Disable);
        let nonce = super::key::nonce().map_err(|error| self.protocol(error.to_string()))?;
        let (mechanism, exchange) = match data {
            Some(data) if offered(scram::MECHANISM_PLUS) => {
                (scram::MECHANISM_PLUS, ClientExchange::begin(nonce, scram::BOUND, data))
            }
            _ if wanted == ChannelBinding::Require => {
                let problem = if self.stream.is_tls() {
                    "channel_binding=require, but the server does not offer it"
                } else {
                    "channel_binding=require, but the connection has no TLS"
                };
                return Err(self.protocol(problem.to_owned()));
            }
            _ if !offered(scram::MECHANISM) => {
                return Err(self.no_key("the server wants a SASL mechanism other than SCRAM-SHA-256"));
            }
            // We could: the server checks that the offer was not taken out of its message.
            Some(_) => (scram::MECHANISM, ClientExchange::begin(nonce, "y,,", &[])),
            None => (scram::MECHANISM, ClientExchange::begin(nonce, "n,,", &[])),
        };
        startup::sasl_initial_response(out, mechanism, exchange.client_first().as_bytes());
        Ok(exchange)
    }

    async fn client_final(
        &self,
        exchange: &ClientExchange,
        server_first: &[u8],
        key: &LoginKey,
    ) -> Result<(String, Expected), ConnectError> {
        let challenge = exchange.challenge(server_first).map_err(|error| self.scram(error))?;
        match key {
            LoginKey::Scram(keys) => {
                let (client, server) = keys.keys_for(&challenge).ok_or_else(|| {
                    self.no_key("the password stored on the server is not the one the client logged in with")
                })?;
                Ok(exchange.answer(&challenge, client, Some(server)))
            }
            LoginKey::Password(password) => {
                let keys = password.keys_for(&challenge).await.map_err(|error| self.scram(error))?;
                Ok(exchange.answer(&challenge, &keys.0, Some(&keys.1)))
            }
            LoginKey::Md5(_) | LoginKey::None => Err(self.no_key("the server wants SCRAM, no key is known")),
        }
    }
}
