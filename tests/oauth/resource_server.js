// An API that takes bearer tokens (RFC 6750) and asks the provider about each (RFC 7662).

import { readBody, sendJson } from './body.js';
import { sha256 } from './token_endpoint.js';

export class ResourceServer {
  requests = { accepted: 0, refused: 0, anonymous: 0 };
  #introspection;
  #refusal;

  constructor(introspection, refusal = {}) {
    this.#introspection = introspection;
    this.#refusal = refusal;
  }

  async handle(request, response) {
    const body = await readBody(request);
    const [, token] = /^Bearer (\S+)$/iu.exec(request.headers.authorization ?? '') ?? [];
    if (!token) {
      this.requests.anonymous += 1;
      return sendJson(response, 401, {}, { 'www-authenticate': 'Bearer realm="tests"' });
    }
    const { active, client_id, sub, scope, aud, exp } = await this.#introspect(token);
    if (!active) {
      this.requests.refused += 1;
      return this.#refuse(response);
    }
    this.requests.accepted += 1;
    const { method, url: target } = request;
    const content = { length: body.length, sha256: sha256(body) };
    const seen = { method, target, content, token_sha256: sha256(token) };
    return sendJson(response, 200, { ...seen, client_id, sub, scope, aud, exp });
  }

  #refuse(response) {
    const challenge = 'Bearer realm="tests", error="invalid_token"';
    const usual = { 'www-authenticate': challenge, 'content-type': 'application/json' };
    const { status = 401, fields = usual, body = '{"error":"invalid_token"}' } = this.#refusal;
    response.writeHead(status, fields);
    response.end(body);
  }

  async #introspect(token) {
    const { url, id, secret } = this.#introspection;
    const answer = await fetch(url, {
      method: 'POST',
      headers: { authorization: `Basic ${btoa(`${id}:${secret}`)}` },
      body: new URLSearchParams({ token }),
    });
    if (!answer.ok) {
      throw new Error(`introspection: ${answer.status} ${await answer.text()}`);
    }
    return answer.json();
  }
}
