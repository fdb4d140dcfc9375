//! The products and their list prices.

use super::cell::Keys;
use super::repair::Names;
use super::report::{Judged, Refusal, Remark, Report};
use super::table::{Header, Row};
use super::{ImportRecord, Named};

pub(super) const FILE: &str = "products.csv";
pub(super) const HEADER: Header = &["product", "series", "sales_price"];

struct Product {
    name: String,
    record: ImportRecord,
}

pub(super) fn read(rows: &[Row], report: &mut Report) -> Named {
    let mut keys = Keys::default();
    let judged: Vec<Judged<Product>> =
        rows.iter().map(|row| row.judge(|row, remarks| product(row, &mut keys, remarks))).collect();
    let products = report.close_file(FILE, judged);
    let names = Names::of(products.iter().map(|product| product.name.as_str()));
    Named { records: products.into_iter().map(|product| product.record).collect(), names }
}

fn product(row: &Row, keys: &mut Keys, remarks: &mut Vec<Remark>) -> Result<Product, Refusal> {
    let name = row.required("product")?;
    let price = row.dollars("sales_price", 0)?;
    if price.is_none() {
        remarks.push(Remark::gap("sales_price", "is empty"));
    }
    let record = ImportRecord::new("product", name)
        .with("name", name)
        .with("series", row.expected("series", remarks))
        .with("list_price", price)
        .with("active", true)
        .checked()?;
    keys.claim(row, "product")?;
    Ok(Product { name: name.to_owned(), record })
}
