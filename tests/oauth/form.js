// A person with a browser fills in the form of a new connection.
//
//   node form.js SETTINGS
//
// SETTINGS is JSON: `executable`, `page` (the form's URL), `base_url`, `secret`. Standard output is one
// line of JSON: what was seen on the way.

import { chromium } from 'playwright-core';

const { executable, page: url, base_url: baseUrl, secret } = JSON.parse(process.argv[2]);

const browser = await chromium.launch({
  executablePath: executable,
  args: [
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-gpu',
    '--disable-sync',
    '--no-first-run',
    '--no-proxy-server',
    '--no-sandbox',
    '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost',
  ],
});
try {
  console.log(JSON.stringify(await visit(await browser.newPage())));
} finally {
  await browser.close();
}

async function visit(page) {
  const errors = [];
  page.on('pageerror', (error) => errors.push(error.message));
  page.on('console', (message) => {
    if (message.type() === 'error') {
      errors.push(message.text());
    }
  });
  const seen = {};
  await page.goto(url);
  const shown = () => page.$$eval('[data-auth]', (groups) => groups.filter((it) => !it.hidden).map((it) => it.dataset.auth));
  seen.types = await page.$$eval('#f-type option', (options) => options.map((it) => it.value));
  seen.shownFirst = await shown();

  // By keyboard alone, as far as forms go.
  await page.focus('#f-name');
  await page.keyboard.type('two words');
  await page.keyboard.press('Enter');
  await page.waitForSelector('#form-errors li');
  seen.focused = await page.evaluate(() => document.activeElement.id);
  seen.summary = await page.textContent('#form-errors');
  seen.invalid = await page.$$eval('[aria-invalid="true"]', (all) => all.map((it) => it.id));
  seen.described = await page.$eval('#f-name', (input) => input.getAttribute('aria-describedby')
    .split(' ').map((id) => document.getElementById(id).textContent));
  await page.click('#form-errors li:first-child a');
  seen.led = await page.evaluate(() => document.activeElement.id);

  await page.fill('#f-name', 'made');
  await page.fill('#f-connection-base-url', baseUrl);
  await page.selectOption('#f-type', 'header');
  seen.shown = await shown();
  const group = page.locator('[data-auth="header"]');
  const row = group.locator('[data-part="row"]');
  await row.first().locator('[data-part="name"]').fill('X-Key');
  await row.first().locator('[data-part="name"]').blur();
  await row.first().locator('[data-part="trial"]').fill(secret);
  await group.locator('[data-part="add"]').click();
  await row.nth(1).locator('[data-part="name"]').fill('X-Tenant');
  await row.nth(1).locator('[data-part="source"]').selectOption('text');
  seen.hidden = await row.nth(1).locator('[data-part="trial"]').isHidden();
  await row.nth(1).locator('[data-part="value"]').fill('acme');
  await page.click('button[value=try]');
  await page.waitForSelector('#result-trial:not([hidden]) tbody tr');
  seen.status = await page.textContent('#result-status');
  seen.trial = await page.textContent('#result-trial');
  seen.toml = await page.textContent('#result-toml');
  seen.missing = await page.textContent('#result-missing');
  seen.text = await page.textContent('body');

  // A wrong entry is told at the entry.
  await row.nth(1).locator('[data-part="name"]').fill('a b');
  await page.click('button[value=check]');
  await page.waitForSelector('#form-errors li');
  seen.invalidEntry = await page.$$eval('[aria-invalid="true"]', (all) => all.map((it) => it.value));

  // What has no secret can be written.
  await row.nth(1).locator('[data-part="name"]').fill('X-Tenant');
  await row.first().locator('[data-part="remove"]').click();
  await page.click('button[value=write]');
  await page.waitForURL('**/connections/made');
  seen.url = page.url();
  return { ...seen, errors };
}
