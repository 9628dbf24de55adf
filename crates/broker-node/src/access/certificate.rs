//! The names in a client's certificate. Called when its CONNECT is looked at; that the certificate is of an authority that
//! is trusted, and valid, the handshake has seen to.

use std::fmt::Write;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::config::CertificateName;

/// How RFC 4514 spells the attributes that have a short name; others are spelled by their number.
const ATTRIBUTES: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// What a certificate says of its owner.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// The common name of its subject; none where there are several, as nobody could say which one counts.
    pub(super) common_name: Option<Box<str>>,
    /// What stands for the user's name, where that was asked for and is there.
    pub(super) user: Option<Box<str>>,
}

/// The names in a certificate; none in what is no certificate.
pub(super) fn names(der: &[u8], user_from: Option<CertificateName>) -> Names {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return Names::default() };
    let common_name = common_name(certificate.subject());
    let user = match user_from {
        Some(CertificateName::Cn) => common_name.clone(),
        Some(CertificateName::Dn) => distinguished_name(certificate.subject()),
        Some(CertificateName::San) => alternative_name(&certificate),
        None => None,
    };
    Names { common_name, user }
}

fn common_name(subject: &X509Name<'_>) -> Option<Box<str>> {
    let mut all = subject.iter_common_name();
    let (first, None) = (all.next()?, all.next()) else { return None };
    first.as_str().ok().filter(|name| !name.is_empty()).map(Into::into)
}

/// The first name of a host, a mailbox or a resource.
fn alternative_name(certificate: &X509Certificate<'_>) -> Option<Box<str>> {
    let names = certificate.subject_alternative_name().ok()??;
    let texts = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(text) | GeneralName::RFC822Name(text) | GeneralName::URI(text) => Some(*text),
        _ => None,
    });
    texts.into_iter().find(|text| !text.is_empty()).map(Into::into)
}

/// The subject as RFC 4514 spells it, the last part first; none where a part is no text.
fn distinguished_name(subject: &X509Name<'_>) -> Option<Box<str>> {
    let parts: Vec<_> = subject.iter_rdn().collect();
    let mut text = String::new();
    for part in parts.into_iter().rev() {
        for (place, attribute) in part.iter().enumerate() {
            let separator = if place > 0 { "+" } else { "," };
            text.push_str(if text.is_empty() { "" } else { separator });
            write_attribute(&mut text, attribute)?;
        }
    }
    (!text.is_empty()).then(|| text.into())
}

fn write_attribute(text: &mut String, attribute: &AttributeTypeAndValue<'_>) -> Option<()> {
    let number = attribute.attr_type().to_id_string();
    let short = ATTRIBUTES.iter().find(|(known, _)| *known == number).map(|(_, name)| *name);
    write!(text, "{}=", short.unwrap_or(&number)).ok()?;
    let value = attribute.as_str().ok()?;
    let last = value.chars().count().saturating_sub(1);
    for (place, character) in value.chars().enumerate() {
        let special = match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' | '=' => true,
            ' ' => place == 0 || place == last,
            '#' => place == 0,
            _ => false,
        };
        if character == '\0' {
            text.push_str("\\00");
            continue;
        }
        text.push_str(if special { "\\" } else { "" });
        text.push(character);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    use super::*;

    fn certificate(names: &[(DnType, &str)], alternatives: Vec<SanType>) -> Vec<u8> {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        for (kind, name) in names {
            params.distinguished_name.push(kind.clone(), *name);
        }
        params.subject_alt_names = alternatives;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn user(der: &[u8], from: CertificateName) -> Option<String> {
        names(der, Some(from)).user.map(Into::into)
    }

    #[test]
    fn each_kind_of_name_is_found() {
        let subject = [(DnType::OrganizationName, "Acme, Inc."), (DnType::CommonName, "device #7")];
        let alternatives = vec![
            SanType::IpAddress([127, 0, 0, 1].into()),
            SanType::URI("urn:device:7".try_into().unwrap()),
            SanType::DnsName("device7.example.org".try_into().unwrap()),
        ];
        let der = certificate(&subject, alternatives);
        assert_eq!(user(&der, CertificateName::Cn).as_deref(), Some("device #7"));
        assert_eq!(user(&der, CertificateName::Dn).as_deref(), Some("CN=device #7,O=Acme\\, Inc."));
        assert_eq!(user(&der, CertificateName::San).as_deref(), Some("urn:device:7"));
        let found = names(&der, None);
        assert_eq!((found.common_name.as_deref(), found.user), (Some("device #7"), None));
    }

    #[test]
    fn what_a_certificate_does_not_say_is_no_name() {
        let empty = certificate(&[], Vec::new());
        for from in [CertificateName::Cn, CertificateName::Dn, CertificateName::San] {
            assert_eq!(user(&empty, from), None);
            assert_eq!(user(b"no certificate", from), None);
        }
    }

    /// A part of one attribute cannot be taken for another attribute.
    #[test]
    fn what_is_in_a_name_stays_in_it() {
        let der = certificate(&[(DnType::CommonName, " a,O=Acme+x")], Vec::new());
        assert_eq!(user(&der, CertificateName::Dn).as_deref(), Some("CN=\\ a\\,O\\=Acme\\+x"));
    }
}
