//! The promises of accounts: only the right password signs in, and nothing is kept that would help a thief.

use std::net::{Ipv4Addr, Ipv6Addr};

use crdt_core::id::Epoch;
use crdt_core::schema::Schema;
use tempfile::TempDir;

use super::*;
use crate::store::sqlite::{SqliteOptions, SqliteStore};
use crate::telemetry::metrics::Metrics;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const PHONE: DeviceId = DeviceId([1; 16]);
const TABLET: DeviceId = DeviceId([2; 16]);
const PASSWORD: &str = "correct horse battery";

struct One(Arc<dyn Store>);

impl Stores for One {
    fn open(&self, workspace: &str) -> Result<Option<Arc<dyn Store>>, StoreError> {
        Ok((workspace == "acme").then(|| Arc::clone(&self.0)))
    }
}

/// A workspace whose member Rosa has an account.
struct Office {
    store: Arc<dyn Store>,
    accounts: Arc<Accounts>,
    key: TokenKey,
    metrics: Metrics,
    folder: TempDir,
}

fn rosa() -> MemberId {
    MemberId::from_source_key("user", "rosa")
}

fn here() -> IpAddr {
    IpAddr::V4(Ipv4Addr::LOCALHOST)
}

impl Office {
    fn new() -> Self {
        Self::with(AccountSettings { attempts_per_minute: 1_000, ..AccountSettings::default() })
    }

    fn with(settings: AccountSettings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("acme.db");
        SqliteStore::create(&path, Epoch([7; 16]), Schema::builtin().text()).unwrap();
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::open(&path, SqliteOptions::default()).unwrap());
        store::write(&*store, |tx| tx.put_member(&rosa(), "Rosa")).unwrap();
        set_password(&*store, &rosa(), "Rosa@acme.example", PASSWORD, NOW).unwrap();
        let key = TokenKey::open_or_create(&folder.path().join("token-key.pem")).unwrap();
        let metrics = Metrics::new();
        let stores = Arc::new(One(Arc::clone(&store)));
        let accounts = Accounts::new(stores, key.clone(), settings, metrics.identity.clone());
        let accounts = Arc::new(accounts.unwrap());
        Self { store, accounts, key, metrics, folder }
    }

    async fn sign_in(&self, login: &str, password: &str) -> Result<SignedIn, SignInError> {
        self.sign_in_on(PHONE, login, password).await
    }

    async fn sign_in_on(
        &self,
        device: DeviceId,
        login: &str,
        password: &str,
    ) -> Result<SignedIn, SignInError> {
        let (workspace, login) = ("acme".to_owned(), login.to_owned());
        let login = Login { workspace, login, password: password.to_owned(), device };
        self.accounts.sign_in(here(), login, NOW).await
    }

    async fn rosa_on(&self, device: DeviceId) -> SignedIn {
        self.sign_in_on(device, "rosa@acme.example", PASSWORD).await.unwrap()
    }

    async fn refresh(
        &self,
        device: DeviceId,
        token: &str,
        later_ms: i64,
    ) -> Result<SignedIn, SignInError> {
        self.accounts.refresh(here(), shown(device, token), NOW.plus_millis(later_ms)).await
    }
}

fn shown(device: DeviceId, token: &str) -> Refresh {
    Refresh { workspace: "acme".to_owned(), refresh_token: token.to_owned(), device }
}

#[tokio::test]
async fn the_right_password_gives_a_short_token_of_this_device_alone() {
    let office = Office::new();
    for login in ["rosa@acme.example", "ROSA@ACME.example", "  Rosa@acme.example "] {
        let signed_in = office.sign_in(login, PASSWORD).await.unwrap();
        assert_eq!((signed_in.member, signed_in.expires_in), (rosa(), 900));
        let principal = office.key.verify(&signed_in.access_token, NOW).unwrap();
        assert_eq!((principal.workspace.as_str(), principal.member), ("acme", rosa()));
        assert_eq!(principal.device, Some(PHONE));
        assert_eq!(principal.expires, NOW.plus_millis(900_000));
    }
}

#[tokio::test]
async fn every_other_password_login_or_workspace_is_refused_alike() {
    let office = Office::new();
    for (login, password) in [
        ("rosa@acme.example", ""),
        ("rosa@acme.example", "correct horse batter"),
        ("rosa@acme.example", "Correct horse battery"),
        ("rosa@acme.example", "correct horse battery "),
        ("nobody@acme.example", PASSWORD),
        ("' OR 1=1 --", PASSWORD),
        ("%", PASSWORD),
        ("", PASSWORD),
        ("rosa@acme.example\0", PASSWORD),
    ] {
        let refused = office.sign_in(login, password).await;
        assert!(matches!(refused, Err(SignInError::WrongCredentials)), "{login:?}: {refused:?}");
    }
    let login = Login {
        workspace: "../acme".to_owned(),
        login: "rosa@acme.example".to_owned(),
        password: PASSWORD.to_owned(),
        device: PHONE,
    };
    let refused = office.accounts.sign_in(here(), login, NOW).await;
    assert!(matches!(refused, Err(SignInError::WrongCredentials)), "{refused:?}");
    let page = office.metrics.render();
    assert!(page.contains("fieldbook_logins_refused_total 8"), "{page}");
}

#[tokio::test]
async fn an_unknown_login_costs_the_same_time_as_a_wrong_password() {
    let office = Office::new();
    let mut least = [Duration::MAX; 2];
    for _ in 0..5 {
        for (at, login) in ["rosa@acme.example", "nobody"].into_iter().enumerate() {
            let begun = Instant::now();
            assert!(office.sign_in(login, "wrong password").await.is_err());
            least[at] = least[at].min(begun.elapsed());
        }
    }
    // Without a hash to compare with, the second would take a hundredth.
    assert!(least[1] > least[0] / 4, "{least:?}");
}

#[tokio::test]
async fn tokens_are_exchanged_and_a_lost_answer_is_given_again() {
    let office = Office::new();
    let first = office.rosa_on(PHONE).await;
    let second = office.refresh(PHONE, &first.refresh_token, 600_000).await.unwrap();
    let again = office.refresh(PHONE, &first.refresh_token, 610_000).await.unwrap();
    assert_eq!(again.refresh_token, second.refresh_token);
    let third = office.refresh(PHONE, &second.refresh_token, 1_200_000).await.unwrap();
    assert!(office.key.verify(&third.access_token, NOW.plus_millis(1_200_000)).is_ok());
}

#[tokio::test]
async fn an_old_token_signs_the_device_out_and_is_counted() {
    let office = Office::new();
    let (phone, tablet) = (office.rosa_on(PHONE).await, office.rosa_on(TABLET).await);
    let second = office.refresh(PHONE, &phone.refresh_token, 1_000).await.unwrap();
    let third = office.refresh(PHONE, &second.refresh_token, 2_000).await.unwrap();
    for token in [&phone, &second, &third] {
        let refused = office.refresh(PHONE, &token.refresh_token, 3_000).await;
        assert!(matches!(refused, Err(SignInError::SignedOut)), "{refused:?}");
    }
    assert!(office.refresh(TABLET, &tablet.refresh_token, 4_000).await.is_ok(), "untouched");
    let page = office.metrics.render();
    assert!(page.contains("fieldbook_refresh_families_revoked_total 1"), "{page}");
}

#[tokio::test]
async fn a_token_is_worth_nothing_on_another_device_or_when_it_is_invented() {
    let office = Office::new();
    let signed_in = office.rosa_on(PHONE).await;
    let invented = crate::token::base64url(&[9; 48]);
    for token in ["", "x", "....", &invented, &signed_in.access_token] {
        let refused = office.refresh(PHONE, token, 0).await;
        assert!(matches!(refused, Err(SignInError::SignedOut)), "{token:?}: {refused:?}");
    }
    let stolen = office.refresh(TABLET, &signed_in.refresh_token, 0).await;
    assert!(matches!(stolen, Err(SignInError::SignedOut)));
    assert!(office.refresh(PHONE, &signed_in.refresh_token, 0).await.is_err(), "it was stolen");
}

#[tokio::test]
async fn a_device_that_does_not_come_back_for_long_has_to_sign_in_again() {
    let office = Office::new();
    let signed_in = office.rosa_on(PHONE).await;
    let ninety_days = 90 * 86_400_000;
    let next = office.refresh(PHONE, &signed_in.refresh_token, ninety_days - 1).await.unwrap();
    let refused = office.refresh(PHONE, &next.refresh_token, 2 * ninety_days).await;
    assert!(matches!(refused, Err(SignInError::SignedOut)), "{refused:?}");
}

#[tokio::test]
async fn signing_out_and_signing_in_again_end_what_the_device_held() {
    let office = Office::new();
    let first = office.rosa_on(PHONE).await;
    let second = office.rosa_on(PHONE).await;
    assert!(office.refresh(PHONE, &first.refresh_token, 0).await.is_err(), "replaced");
    let sign_out =
        async |device, token: &str| office.accounts.sign_out(here(), shown(device, token)).await;
    sign_out(TABLET, &second.refresh_token).await.unwrap();
    sign_out(PHONE, "invented").await.unwrap();
    let second = office.refresh(PHONE, &second.refresh_token, 0).await.unwrap();
    sign_out(PHONE, &second.refresh_token).await.unwrap();
    assert!(office.refresh(PHONE, &second.refresh_token, 0).await.is_err());
}

#[tokio::test]
async fn administrators_end_sessions_of_a_device_a_member_or_with_an_old_password() {
    let office = Office::new();
    let phone = office.rosa_on(PHONE).await;
    let tablet = office.rosa_on(TABLET).await;
    assert_eq!(revoke_device_tokens(&*office.store, &PHONE).unwrap(), 1);
    assert!(office.refresh(PHONE, &phone.refresh_token, 0).await.is_err());
    let tablet = office.refresh(TABLET, &tablet.refresh_token, 0).await.unwrap();

    set_password(&*office.store, &rosa(), "rosa", "another password", NOW).unwrap();
    assert!(office.refresh(TABLET, &tablet.refresh_token, 0).await.is_err());
    assert!(office.sign_in("rosa@acme.example", PASSWORD).await.is_err());
    let tablet = office.sign_in_on(TABLET, "rosa", "another password").await.unwrap();

    assert_eq!(revoke_member_tokens(&*office.store, &rosa()).unwrap(), 1);
    assert!(office.refresh(TABLET, &tablet.refresh_token, 0).await.is_err());
    remove_account(&*office.store, &rosa()).unwrap();
    let refused = office.sign_in("rosa", "another password").await;
    assert!(matches!(refused, Err(SignInError::WrongCredentials)), "{refused:?}");
}

#[tokio::test]
async fn a_disabled_member_and_a_revoked_device_get_nothing_even_with_the_right_password() {
    let office = Office::new();
    let signed_in = office.rosa_on(PHONE).await;
    store::write(&*office.store, |tx| tx.revoke(&TABLET, NOW)).unwrap();
    let refused = office.sign_in_on(TABLET, "rosa@acme.example", PASSWORD).await;
    assert!(matches!(refused, Err(SignInError::DeviceRevoked)), "{refused:?}");

    let mut row = store::read(&*office.store, |tx| tx.members()).unwrap().remove(0);
    row.standing.active = false;
    store::write(&*office.store, |tx| tx.put_member_row(&row)).unwrap();
    let refused = office.sign_in("rosa@acme.example", PASSWORD).await;
    assert!(matches!(refused, Err(SignInError::MemberDisabled)), "{refused:?}");
    let refused = office.refresh(PHONE, &signed_in.refresh_token, 0).await;
    assert!(matches!(refused, Err(SignInError::MemberDisabled)), "{refused:?}");

    row.standing.active = true;
    store::write(&*office.store, |tx| tx.put_member_row(&row)).unwrap();
    assert!(
        office.refresh(PHONE, &signed_in.refresh_token, 0).await.is_ok(),
        "nothing was used up"
    );
}

#[tokio::test]
async fn a_login_and_a_password_have_to_be_some() {
    let office = Office::new();
    let set =
        |login: &str, password: &str| set_password(&*office.store, &rosa(), login, password, NOW);
    for login in ["", "   ", "a\nb", &"a".repeat(255)] {
        assert!(matches!(set(login, PASSWORD), Err(AccountError::BadLogin)), "{login:?}");
    }
    for password in ["", "1234567", &"a".repeat(1_025)] {
        assert!(matches!(set("rosa", password), Err(AccountError::BadPassword)), "{password:?}");
    }
    let other = MemberId::from_source_key("user", "other");
    let stranger = set_password(&*office.store, &other, "other", PASSWORD, NOW);
    assert!(matches!(stranger, Err(AccountError::NoSuchMember)));
    store::write(&*office.store, |tx| tx.put_member(&other, "Other")).unwrap();
    let taken = set_password(&*office.store, &other, "ROSA@acme.example", PASSWORD, NOW);
    assert!(matches!(taken, Err(AccountError::LoginTaken)));
    assert!(office.sign_in("rosa@acme.example", PASSWORD).await.is_ok(), "nothing has changed");
}

#[tokio::test]
async fn attempts_are_counted_by_address_and_by_login() {
    let settings = AccountSettings { attempts_per_minute: 12, ..AccountSettings::default() };
    let office = Office::with(settings);
    let attempt = async |from: IpAddr, name: &str| {
        let (workspace, login) = ("acme".to_owned(), name.to_owned());
        let login = Login { workspace, login, password: "wrong".to_owned(), device: PHONE };
        office.accounts.sign_in(from, login, NOW).await.unwrap_err()
    };
    let v6 = |low| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, low));
    for low in 0..12 {
        let refused = attempt(v6(low), &format!("login {low}")).await;
        assert!(matches!(refused, SignInError::WrongCredentials), "{refused:?}");
    }
    let refused = attempt(v6(99), "login 99").await;
    assert!(
        matches!(refused, SignInError::TooMany { .. }),
        "one network is one address: {refused:?}"
    );

    for at in 0..10 {
        let from = IpAddr::V4(Ipv4Addr::new(10, 0, 0, at));
        let refused = attempt(from, "rosa@acme.example").await;
        assert!(matches!(refused, SignInError::WrongCredentials), "{refused:?}");
    }
    let refused = attempt(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 99)), "ROSA@acme.example").await;
    let SignInError::TooMany { retry_after } = refused else { panic!("{refused:?}") };
    assert!(retry_after <= LOGIN_REFILL, "{retry_after:?}");
}

#[tokio::test]
async fn passwords_can_be_switched_off() {
    let settings = AccountSettings { attempts_per_minute: 0, ..AccountSettings::default() };
    let office = Office::with(settings);
    let refused = office.sign_in("rosa@acme.example", PASSWORD).await;
    assert!(matches!(refused, Err(SignInError::Off)), "{refused:?}");
}

#[tokio::test]
async fn a_member_is_signed_in_on_so_many_devices_and_the_oldest_gives_way() {
    let office = Office::new();
    let random = |at: u8| ([at; 16], [at; 32]);
    for at in 0..32 {
        let begun_at = NOW.plus_millis(i64::from(at) - 1_000);
        let device = DeviceId([100 + at; 16]);
        let (row, _) = refresh::begin(rosa(), device, random(at), begun_at, 86_400_000);
        store::write(&*office.store, |tx| tx.put_family(&row)).unwrap();
    }
    office.rosa_on(PHONE).await;
    let families = store::read(&*office.store, |tx| tx.families(Whose::Member(rosa()))).unwrap();
    assert_eq!(families.len(), 32);
    assert!(families.iter().all(|row| row.id != [0; 16]), "the oldest");
}

#[tokio::test]
async fn neither_a_password_nor_a_token_is_in_any_file() {
    let office = Office::new();
    let first = office.rosa_on(PHONE).await;
    let second = office.refresh(PHONE, &first.refresh_token, 1_000).await.unwrap();
    let secrets =
        [first.refresh_token, second.refresh_token, first.access_token, second.access_token];
    let mut needles: Vec<Vec<u8>> =
        secrets.iter().map(|token| token.clone().into_bytes()).collect();
    for token in &secrets[..2] {
        needles.push(crate::token::unbase64url(token).unwrap()[16..].to_vec());
    }
    needles.push(PASSWORD.as_bytes().to_vec());
    for file in std::fs::read_dir(office.folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        for needle in &needles {
            assert!(!bytes.windows(needle.len()).any(|window| window == needle));
        }
    }
}
