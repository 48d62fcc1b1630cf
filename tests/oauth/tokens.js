// The tokens that were issued, so that a test can withdraw them as an administrator would.

export class Tokens {
  #access = new Map();
  #grants = new Set();
  #provider;

  constructor(provider) {
    this.#provider = provider;
    for (const kind of ['access_token', 'client_credentials']) {
      provider.on(`${kind}.saved`, (token) => this.#access.set(token.jti, token));
    }
    provider.on('refresh_token.saved', ({ grantId }) => this.#grants.add(grantId));
  }

  // Ends all access tokens; refresh tokens stay.
  async revokeAccessTokens() {
    const tokens = [...this.#access.values()];
    this.#access.clear();
    await Promise.all(tokens.map((token) => token.destroy()));
    return tokens.length;
  }

  // Ends all grants with every token of theirs, as a person does who withdraws a consent.
  async revokeGrants() {
    const { AccessToken, Grant, RefreshToken } = this.#provider;
    const grants = [...this.#grants];
    this.#grants.clear();
    await Promise.all(grants.map(async (id) => {
      await Promise.all([AccessToken, RefreshToken].map((model) => model.revokeByGrantId(id)));
      await (await Grant.find(id))?.destroy();
    }));
    return grants.length;
  }
}
