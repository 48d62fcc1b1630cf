// The provider with a token endpoint that is logged, and that misbehaves when a test asks for it.

import { createHash } from 'node:crypto';

import { readBody, sendJson } from './body.js';
import { JWT_BEARER, implicitClient } from './jwt_bearer.js';

// up      answers
// refuse  503 (or `status`), with `error` and `retry_after` where given
// hang    reads the request and never answers
// close   reads the request and closes the connection
// hold    waits for the next mode and then does as that says
// lose    does what it was asked for and closes the connection instead of answering
const MODES = ['up', 'refuse', 'hang', 'close', 'hold', 'lose'];

// Parameters that are no secrets.
const SHOWN = ['audience', 'client_id', 'redirect_uri', 'resource', 'scope'];

export class TokenEndpoint {
  log = [];
  // Requests to any endpoint of the provider, by path.
  endpoints = {};
  reuses = 0;
  #entries = new WeakMap();
  #held = [];
  #mode = { mode: 'up' };
  #serve;

  constructor(provider) {
    this.#serve = provider.callback();
    provider.on('grant.success', (context) => this.#ended(context, 'issued'));
    provider.on('grant.error', (context, error) => this.#ended(context, 'refused', error));
    provider.on('server_error', (context, error) => {
      process.stderr.write(`${context.method} ${context.path}: ${error.stack}\n`);
    });
  }

  // `grant` limits a mode to one grant type, `times` to so many requests.
  setMode(mode) {
    if (!MODES.includes(mode.mode)) {
      throw new Error(`no mode "${mode.mode}": ${MODES.join(', ')}`);
    }
    this.#mode = mode;
    this.#held.splice(0).forEach((release) => release());
  }

  async handle(request, response) {
    const { pathname } = new URL(request.url, 'http://localhost');
    this.endpoints[pathname] = (this.endpoints[pathname] ?? 0) + 1;
    if (pathname !== '/token' || request.method !== 'POST') {
      return this.#serve(request, response);
    }
    const body = (await readBody(request)).toString();
    const form = new URLSearchParams(body);
    const entry = describe(request, form);
    this.log.push(entry);
    this.#entries.set(request, entry);
    response.once('close', () => { entry.ended ??= Date.now(); });
    const client = form.get('grant_type') === JWT_BEARER ? implicitClient(form) : undefined;
    // oidc-provider takes a body that was read before it from here.
    request.body = client ? `${body}&client_id=${encodeURIComponent(client)}` : body;
    return this.#answer(request, response, entry);
  }

  async #answer(request, response, entry) {
    const { mode, ...options } = this.#modeFor(entry);
    switch (mode) {
      case 'refuse': return refuse(response, entry, options);
      case 'hang': entry.outcome = 'hung'; return undefined;
      case 'close': entry.outcome = 'closed'; return request.socket.destroy();
      case 'hold':
        entry.outcome = 'held';
        await new Promise((release) => { this.#held.push(release); });
        return this.#answer(request, response, entry);
      case 'lose':
        entry.lost = true;
        response.end = () => request.socket.destroy();
    }
    return this.#serve(request, response);
  }

  #modeFor({ grant_type: grant }) {
    const mode = this.#mode;
    if (mode.grant && mode.grant !== grant) {
      return { mode: 'up' };
    }
    if (mode.times !== undefined) {
      mode.times -= 1;
      this.#mode = mode.times > 0 ? mode : { mode: 'up' };
    }
    return mode;
  }

  #ended(context, outcome, error) {
    const entry = this.#entries.get(context.req);
    if (error?.error_detail === 'refresh token already used') {
      this.reuses += 1;
    }
    Object.assign(entry, {
      client_id: context.oidc.client?.clientId ?? entry.client_id,
      outcome,
      ended: Date.now(),
      status: context.status,
      error: error?.error,
      error_detail: error?.error_detail ?? error?.error_description,
    });
  }
}

// What a log may know of a request: no secret, and of a refresh token which one it is.
function describe({ headers }, form) {
  const refreshToken = form.get('refresh_token');
  const shown = SHOWN.filter((name) => form.has(name)).map((name) => [name, form.getAll(name).join(' ')]);
  return {
    at: Date.now(),
    grant_type: form.get('grant_type'),
    client_auth: clientAuth(headers, form),
    content_type: headers['content-type'],
    parameters: [...new Set(form.keys())],
    ...Object.fromEntries(shown),
    refresh_token_sha256: refreshToken ? sha256(refreshToken) : undefined,
    outcome: 'pending',
  };
}

function clientAuth(headers, form) {
  if (headers.authorization !== undefined) {
    return 'basic';
  }
  if (form.has('client_assertion')) {
    return 'private_key_jwt';
  }
  if (form.has('client_secret')) {
    return 'post';
  }
  // As the proxy in front says.
  return headers['x-client-verify'] === 'SUCCESS' ? 'tls' : 'none';
}

function refuse(response, entry, { status = 503, error = 'temporarily_unavailable', retry_after: after }) {
  Object.assign(entry, { outcome: 'unavailable', ended: Date.now(), status, error });
  sendJson(response, status, { error }, after === undefined ? {} : { 'retry-after': after });
}

export function sha256(text) {
  return createHash('sha256').update(text).digest('hex');
}
